/* See tls_link.h. The stream is on the heap, because a struct conn moves when it is adopted and
 * OpenSSL points at it. Makes no kernel object. */
#include "client/lib/tls_link.h"

#include "base/io.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* --- a transport of the client's own: tcp with TLS in between ------------------------------ */

static ssize_t push(struct link *l, const struct slice *s, unsigned flags)
{
    (void)flags;
    ssize_t n = tls_write(l->state, s->data, s->len);
    if (n >= 0 && (size_t)n < s->len)
        l->full++;
    return n;
}

static ssize_t pull(struct link *l, void *buf, size_t cap)
{
    struct tls_stream *t = l->state;
    t->budget = TLS_BUDGET;
    return tls_read(t, buf, cap);
}

static const struct transport over_tls = {
    .name = "tcp",
    .id = TRANSPORT_TCP,
    .flags = TRANSPORT_STREAM | TRANSPORT_REMOTE,
    .tx_events = POLLOUT,
    .push = push,
    .pull = pull,
};

void conn_tls_links(struct conn *c)
{
    c->up.t = c->down.t = &over_tls;
    c->up.state = c->down.state = c->tls;
}

void conn_tls_end(struct conn *c)
{
    if (!c->tls)
        return;
    tls_bye(c->tls); /* a courtesy: what it cannot send now is not waited for */
    tls_close(c->tls);
    free(c->tls);
    c->tls = NULL;
}

/* --- whom to trust ---------------------------------------------------------------------------- */

static int is_number(const char *host)
{
    uint8_t b[16];
    return inet_pton(AF_INET, host, b) == 1 || inet_pton(AF_INET6, host, b) == 1;
}

/* Have OpenSSL check the chain and the name while it shakes hands. */
static int demand_ca(struct conn *c, const struct address *a, SSL_CTX *ctx)
{
    const char *ca = a->trust.ca;
    X509_VERIFY_PARAM *p = SSL_CTX_get0_param(ctx);
    int ok = strcmp(ca, TRUST_SYSTEM) == 0 ? SSL_CTX_set_default_verify_paths(ctx)
                                           : SSL_CTX_load_verify_locations(ctx, ca, NULL);
    if (!ok && access(ca, R_OK) < 0)
        return conn_fail(c, -EKEYREJECTED, "cannot read --tls-ca %s (%s)", ca, errno_name(errno));
    if (!ok)
        return conn_fail(
            c, -EKEYREJECTED,
            "there are no certificates (PEM) in --tls-ca %s; name a file with those of "
            "the CA, or the word: system",
            ca);
    /* A server's own certificate in that file is as good as one of a CA. */
    X509_VERIFY_PARAM_set_flags(p, X509_V_FLAG_PARTIAL_CHAIN);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    ok = is_number(a->host) ? X509_VERIFY_PARAM_set1_ip_asc(p, a->host)
                            : X509_VERIFY_PARAM_set1_host(p, a->host, 0);
    return ok ? 0 : conn_fail(c, -ENOMEM, "out of memory (ENOMEM)");
}

static int judge_known(struct conn *c, const struct address *a)
{
    char known[TLS_FINGERPRINT];
    int line = 0;
    const char *file = a->trust.known, *place = a->text + 4;
    int r = known_find(file, place, known, &line);
    if (r == -EBADMSG)
        return conn_fail(c, -EKEYREJECTED,
                         "%s:%d: not a line of `HOST:PORT SHA256:…`; mend or remove it", file,
                         line);
    if (r < 0)
        return conn_fail(c, -EKEYREJECTED, "cannot read the file of known servers %s (%s)", file,
                         errno_name(r));
    if (r == 0) {
        c->unknown = 1;
        return conn_fail(
            c, -EKEYREJECTED,
            "the server at %s is not known here yet. Its certificate is %s: compare that "
            "with what parleyd printed when it started. If it is the same, add "
            "--tls-fingerprint %s, or connect once from a terminal, which asks and "
            "remembers",
            a->text, c->seen, c->seen);
    }
    if (strcmp(known, c->seen) != 0)
        return conn_fail(
            c, -EKEYREJECTED,
            "THE CERTIFICATE OF %s HAS CHANGED. Somebody may be in between and listening, "
            "or the server was given a new one: nothing was sent. It shows %s; line %d of "
            "%s says %s. Ask whoever runs it; only if the new one is right, remove that "
            "line and connect again",
            a->text, c->seen, line, file, known);
    return 0;
}

static int judge(struct conn *c, const struct address *a)
{
    X509 *cert = SSL_get1_peer_certificate(c->tls->ssl);
    if (!cert)
        return conn_fail(c, -EKEYREJECTED, "the server at %s shows no certificate", a->text);
    tls_fingerprint(cert, c->seen);
    X509_free(cert);
    if (a->trust.fingerprint[0] && strcmp(a->trust.fingerprint, c->seen) != 0)
        return conn_fail(
            c, -EKEYREJECTED,
            "the server at %s is not the one that was meant: its certificate is %s, not "
            "%s (--tls-fingerprint). Nothing was sent",
            a->text, c->seen, a->trust.fingerprint);
    if (a->trust.fingerprint[0] || a->trust.ca[0])
        return 0;
    return judge_known(c, a);
}

/* --- the handshake ---------------------------------------------------------------------------- */

int conn_tls_start(struct conn *c, const struct address *a)
{
    SSL_CTX *ctx = tls_context(0);
    struct tls_stream *t = calloc(1, sizeof *t);
    int r = ctx && t ? 0 : -ENOMEM;
    if (r == 0 && a->trust.ca[0])
        r = demand_ca(c, a, ctx);
    if (r == 0)
        r = tls_open(t, ctx, c->sock, 0);
    if (r == 0 && !is_number(a->host))
        SSL_set_tlsext_host_name(t->ssl, a->host);
    SSL_CTX_free(ctx); /* the stream holds it */
    if (r < 0) {
        free(t);
        return r == -ENOMEM ? conn_fail(c, r, "out of memory (ENOMEM)") : r;
    }
    t->wants = POLLOUT;
    c->tls = t;
    return 0;
}

int conn_tls_step(struct conn *c, const struct address *a)
{
    int r = tls_handshake(c->tls);
    if (r == 1)
        r = judge(c, a);
    else if (r == 0)
        return 0;
    else {
        long v = SSL_get_verify_result(c->tls->ssl);
        if (a->trust.ca[0] && v != X509_V_OK)
            return conn_fail(
                c, -EKEYREJECTED,
                "the certificate of %s is not good for --tls-ca %s: %s. Nothing was sent", a->text,
                a->trust.ca, X509_verify_cert_error_string(v));
        if (r == -EPROTO)
            return conn_fail(c, r, "no TLS 1.3 with %s (%s). Is it a TLS port?", a->text,
                             tls_problem());
        return conn_fail(c, r, "the server at %s hung up before TLS was agreed on (%s)", a->text,
                         errno_name(r));
    }
    return r < 0 ? r : 1;
}
