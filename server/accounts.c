/* See accounts.h: the file, and the table it is read into. */
#include "server/accounts.h"

#include "base/io.h"
#include "base/log.h"
#include "server/statefile.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEAD "parley accounts 1"

const char *account_name_problem(const char *name)
{
    size_t n = strlen(name);
    if (n == 0 || n > ACCOUNT_MAX)
        return "a name has from 1 to 32 bytes";
    if (strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-") != n)
        return "a name has lower-case letters, digits, '.', '_' and '-'";
    if (strchr("._-", name[0]))
        return "a name begins with a letter or a digit";
    return NULL;
}

static struct id128 stamp_of(const struct account *a)
{
    struct id128 stamp;
    crypto_generichash(stamp.b, sizeof stamp.b, (const unsigned char *)a->hash, strlen(a->hash),
                       (const unsigned char *)a->name, strlen(a->name));
    return stamp;
}

struct account *accounts_find(struct account *table, struct str name)
{
    struct account *a;
    HASH_FIND(hh, table, name.p, name.n, a);
    return a;
}

void accounts_free(struct account **table)
{
    struct account *a, *tmp;
    HASH_ITER (hh, *table, a, tmp) {
        HASH_DEL(*table, a);
        sodium_memzero(a, sizeof *a);
        free(a);
    }
}

/* `NAME HASH` */
static int add_line(struct account **table, char *line)
{
    char *rest, *name = strtok_r(line, " \t\r\n", &rest), *hash = strtok_r(NULL, " \t\r\n", &rest);
    if (!name)
        return 0;
    if (!hash || account_name_problem(name) || strlen(hash) >= crypto_pwhash_STRBYTES ||
        strncmp(hash, crypto_pwhash_STRPREFIX, strlen(crypto_pwhash_STRPREFIX)) != 0 ||
        HASH_COUNT(*table) >= ACCOUNTS_MAX || accounts_find(*table, str_of(name)))
        return -EBADMSG;
    struct account *a = calloc(1, sizeof *a);
    if (!a)
        return -ENOMEM;
    memcpy(a->name, name, strlen(name));
    memcpy(a->hash, hash, strlen(hash));
    a->stamp = stamp_of(a);
    HASH_ADD_KEYPTR(hh, *table, a->name, strlen(a->name), a);
    return 0;
}

int accounts_read(const char *dir, struct account **out)
{
    char path[4200], text[512];
    struct account *table = NULL;
    int r = 0, line = 0;
    snprintf(path, sizeof path, "%s/accounts", dir);
    FILE *f = fopen(path, "re");
    if (!f && errno != ENOENT) {
        r = -errno;
        log_error("cannot read %s (%s)", path, errno_name(-r));
        return r;
    }
    while (f && r == 0 && fgets(text, sizeof text, f)) {
        if (++line == 1)
            r = strcmp(text, HEAD "\n") == 0 ? 0 : -EBADMSG;
        else
            r = add_line(&table, text);
    }
    if (r < 0)
        log_error("%s:%d: %s (%s); nothing of the file is used until it is mended", path, line,
                  line == 1 ? "not `" HEAD "`" : "not `NAME HASH` of another account than before",
                  errno_name(-r));
    sodium_memzero(text, sizeof text);
    if (f)
        fclose(f);
    if (r < 0)
        accounts_free(&table);
    else
        *out = table;
    return r;
}

static int by_name(struct account *a, struct account *b)
{
    return strcmp(a->name, b->name);
}

int accounts_write(const char *dir, struct account **table)
{
    char path[4200];
    struct buf text = {0};
    int r = buf_append(&text, HEAD "\n", sizeof HEAD);
    HASH_SORT(*table, by_name);
    for (struct account *a = *table; a && r == 0; a = a->hh.next) {
        char line[ACCOUNT_MAX + crypto_pwhash_STRBYTES + 4];
        int n = snprintf(line, sizeof line, "%s %s\n", a->name, a->hash);
        r = buf_append(&text, line, (size_t)n);
    }
    snprintf(path, sizeof path, "%s/accounts", dir);
    struct stat owner;
    if (r == 0)
        r = io_replace_for(path, buf_head(&text), text.len, statefile_owner(dir, &owner));
    if (r == 0)
        r = statefile_sync_dir(dir); /* who was removed does not come back by a power cut */
    buf_free(&text);
    return r;
}
