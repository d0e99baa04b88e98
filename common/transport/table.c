/* The table of transports, and how a person's wish becomes a list of them. A new mechanism is one
 * file beside this one and one row here. */
#include "transport/transport.h"

#include <errno.h>

const struct transport *const transports[TRANSPORT_COUNT] = {
    &transport_fifo, &transport_posixmq, &transport_sysvmq, &transport_shm,
    &transport_mmap, &transport_unix,    &transport_tcp,
};

const struct transport *transport_by_id(unsigned id)
{
    for (int i = 0; i < TRANSPORT_COUNT; i++)
        if (transports[i]->id == id)
            return transports[i];
    return NULL;
}

const struct transport *transport_by_name(struct str name)
{
    for (int i = 0; i < TRANSPORT_COUNT; i++)
        if (str_eq(name, str_of(transports[i]->name)))
            return transports[i];
    return NULL;
}

struct alias {
    const char *name;
    uint8_t local[TRANSPORT_COUNT + 1], remote[2]; /* ended by TRANSPORT_NONE */
};

/* auto: the plain socket first, because it has no limit to run into and needs no second object;
 * then by latency measured (docs/performance.md). */
static const struct alias aliases[] = {
    {"pipe", {TRANSPORT_FIFO}, {TRANSPORT_FIFO}},
    {"mq", {TRANSPORT_POSIXMQ, TRANSPORT_SYSVMQ}, {TRANSPORT_POSIXMQ}},
    {"socket", {TRANSPORT_UNIX}, {TRANSPORT_TCP}},
    {"auto",
     {TRANSPORT_UNIX, TRANSPORT_SHM, TRANSPORT_FIFO, TRANSPORT_MMAP, TRANSPORT_POSIXMQ,
      TRANSPORT_SYSVMQ},
     {TRANSPORT_TCP}},
};

static int add(uint8_t ids[TRANSPORT_COUNT], int count, uint8_t id)
{
    for (int i = 0; i < count; i++)
        if (ids[i] == id)
            return count;
    ids[count] = id;
    return count + 1;
}

/* Returns the new count; 0 if `word` is neither name nor alias. */
static int add_word(uint8_t ids[TRANSPORT_COUNT], int count, struct str word, int remote)
{
    const struct transport *t = transport_by_name(word);
    if (t)
        return add(ids, count, t->id);
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++) {
        if (!str_eq(word, str_of(aliases[i].name)))
            continue;
        const uint8_t *id = remote ? aliases[i].remote : aliases[i].local;
        for (size_t j = 0; j < (remote ? 1u : TRANSPORT_COUNT) && id[j]; j++)
            count = add(ids, count, id[j]);
        return count;
    }
    return 0;
}

int transport_list(struct str list, int remote, uint8_t ids[TRANSPORT_COUNT], struct str *bad)
{
    int count = 0;
    size_t start = 0;
    for (size_t i = 0; i <= list.n; i++) {
        if (i < list.n && list.p[i] != ',')
            continue;
        struct str word = {list.p + start, i - start};
        int more = add_word(ids, count, word, remote);
        if (more == 0) {
            *bad = word;
            return -EINVAL;
        }
        count = more;
        start = i + 1;
    }
    return count;
}
