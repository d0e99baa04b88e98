/* The server's certificate: made on first use, and read by the relay.
 *
 * P-256 and not Ed25519, because clients that are not parley (openssl s_client of any age, hardware
 * keys, other TLS libraries) all know it. It is pinned by its fingerprint, so what stands in it
 * matters little; the names are those of this machine, so that it also works as its own CA file.
 *
 * Files: STATE/tls-key.pem and STATE/tls-cert.pem, 0600, written aside and renamed, the key first:
 * a certificate that is there has its key. */
#include "server/tls.h"

#include "base/io.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* A certificate is judged by its fingerprint, and changing it is what alarms people: it ends when
 * nobody remembers it. */
#define CERT_DAYS (30L * 365)
/* PEM files: a chain of a dozen certificates. */
#define PEM_MAX (256u * 1024u)

/* --- making -------------------------------------------------------------------------------- */

static int add_extension(X509 *cert, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, cert, cert, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    int ok = e && X509_add_ext(cert, e, -1);
    X509_EXTENSION_free(e);
    return ok;
}

/* Host names go into a list with commas: anything else than letters, digits, dots and dashes would
 * say something else there. */
static void host_name(char *out, size_t cap)
{
    if (gethostname(out, cap) < 0)
        out[0] = '\0';
    out[cap - 1] = '\0';
    static const char fine[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-";
    if (!out[0] || out[strspn(out, fine)])
        snprintf(out, cap, "localhost");
}

static X509 *make_cert(EVP_PKEY *key)
{
    char host[64], names[200];
    unsigned char serial[8];
    X509 *c = X509_new();
    host_name(host, sizeof host);
    snprintf(names, sizeof names, "DNS:%s,DNS:localhost,IP:127.0.0.1,IP:::1", host);
    io_random(serial, sizeof serial);
    serial[0] &= 0x7f; /* positive */
    BIGNUM *number = BN_bin2bn(serial, sizeof serial, NULL);
    int ok = c && number && X509_set_version(c, 2) &&
             BN_to_ASN1_INTEGER(number, X509_get_serialNumber(c)) &&
             X509_gmtime_adj(X509_getm_notBefore(c), -24L * 3600) &&
             X509_time_adj_ex(X509_getm_notAfter(c), (int)CERT_DAYS, 0, NULL) &&
             X509_set_pubkey(c, key) &&
             X509_NAME_add_entry_by_txt(X509_get_subject_name(c), "CN", MBSTRING_ASC,
                                        (const unsigned char *)host, -1, -1, 0) &&
             X509_set_issuer_name(c, X509_get_subject_name(c)) &&
             add_extension(c, NID_subject_alt_name, names) &&
             add_extension(c, NID_basic_constraints, "critical,CA:FALSE") &&
             add_extension(c, NID_ext_key_usage, "serverAuth") && X509_sign(c, key, EVP_sha256());
    BN_free(number);
    if (!ok) {
        X509_free(c);
        c = NULL;
    }
    return c;
}

/* Open NAME in DIR aside. */
static FILE *aside(const char *dir, const char *name, char *path, size_t cap)
{
    snprintf(path, cap, "%s/%s.new", dir, name);
    unlink(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
    if (!f)
        io_close(&fd);
    return f;
}

/* Whole on the disk, then under its name. */
static int finish(FILE *f, int ok, const char *path)
{
    char name[4300];
    snprintf(name, sizeof name, "%.*s", (int)(strlen(path) - 4), path);
    int r = !ok ? -EIO : fflush(f) != 0 || fsync(fileno(f)) < 0 ? -errno : 0;
    fclose(f);
    if (r == 0 && rename(path, name) < 0)
        r = -errno;
    if (r < 0)
        unlink(path);
    return r;
}

static int write_files(const char *dir)
{
    char path[4300];
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = key ? make_cert(key) : NULL;
    int r = cert ? 0 : -EIO;
    FILE *f = r == 0 ? aside(dir, "tls-key.pem", path, sizeof path) : NULL;
    if (r == 0)
        r = f ? finish(f, PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL), path) : -errno;
    f = r == 0 ? aside(dir, "tls-cert.pem", path, sizeof path) : NULL;
    if (r == 0)
        r = f ? finish(f, PEM_write_X509(f, cert), path) : -errno;
    EVP_PKEY_free(key);
    X509_free(cert);
    return r;
}

int tls_cert_make(const char *dir)
{
    char path[4300];
    struct stat st;
    snprintf(path, sizeof path, "%s/tls-cert.pem", dir);
    if (stat(path, &st) == 0)
        return 0;
    /* In a child, so that the key was never in the memory of the hub. */
    int status = 0;
    pid_t pid = fork();
    if (pid == 0)
        _exit(-write_files(dir));
    if (pid < 0 || waitpid(pid, &status, 0) < 0)
        status = EAGAIN << 8;
    int r = WIFEXITED(status) ? -WEXITSTATUS(status) : -EIO;
    if (r < 0)
        log_error("cannot make a certificate in %s (%s); give one with --tls-cert and --tls-key",
                  dir, errno_name(r));
    return r;
}

/* --- reading ------------------------------------------------------------------------------- */

static BIO *contents(int fd)
{
    char part[4096];
    BIO *b = BIO_new(BIO_s_mem());
    ssize_t n = 1;
    for (off_t at = 0; b && n > 0 && at < PEM_MAX; at += n) {
        n = pread(fd, part, sizeof part, at);
        if (n > 0)
            BIO_write(b, part, (int)n);
    }
    OPENSSL_cleanse(part, sizeof part);
    return b;
}

/* A key with a passphrase is not asked for one: nobody is there. */
static int no_passphrase(char *buf, int size, int rw, void *ctx)
{
    (void)buf;
    (void)size;
    (void)rw;
    (void)ctx;
    return -1;
}

static int use_chain(SSL_CTX *ctx, BIO *b, char fingerprint[TLS_FINGERPRINT])
{
    X509 *cert = PEM_read_bio_X509(b, NULL, no_passphrase, NULL);
    int ok = cert && SSL_CTX_use_certificate(ctx, cert);
    if (ok)
        tls_fingerprint(cert, fingerprint);
    X509_free(cert);
    while (ok && (cert = PEM_read_bio_X509(b, NULL, no_passphrase, NULL))) {
        ok = SSL_CTX_add1_chain_cert(ctx, cert) == 1;
        X509_free(cert);
    }
    return ok;
}

SSL_CTX *tls_cert_load(int cert, int key, char fingerprint[TLS_FINGERPRINT], char *why, size_t cap)
{
    SSL_CTX *ctx = tls_context(1);
    BIO *chain = contents(cert), *secret = contents(key);
    EVP_PKEY *k = NULL;
    const char *what = "no memory";
    int ok = 0;
    ERR_clear_error();
    if (ctx && chain && secret) {
        what = "no certificate that can be used";
        ok = use_chain(ctx, chain, fingerprint);
        ERR_clear_error(); /* the end of the chain is one */
    }
    if (ok) {
        what = "no private key without a passphrase in the key file";
        k = PEM_read_bio_PrivateKey(secret, NULL, no_passphrase, NULL);
        ok = k != NULL;
    }
    if (ok) {
        what = "the key is not that of the certificate";
        ok = SSL_CTX_use_PrivateKey(ctx, k) && SSL_CTX_check_private_key(ctx);
    }
    snprintf(why, cap, "%s", what);
    ERR_clear_error();
    EVP_PKEY_free(k);
    BIO_free(chain);
    BIO_free(secret);
    if (!ok) {
        SSL_CTX_free(ctx);
        ctx = NULL;
    }
    return ctx;
}
