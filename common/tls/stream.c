/* See stream.h. Makes no kernel object. */
#include "tls/stream.h"
#include "base/io.h"

#include <ctype.h>
#include <errno.h>
#include <openssl/err.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* --- the socket below ------------------------------------------------------------------------- */

static BIO_METHOD *method; /* made once, kept to the end */
static pthread_once_t made = PTHREAD_ONCE_INIT;

static int bio_write(BIO *b, const char *p, size_t n, size_t *done)
{
    struct tls_stream *t = BIO_get_data(b);
    ssize_t r;
    do
        r = send(t->fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (r < 0 && errno == EINTR);
    BIO_clear_retry_flags(b);
    if (r < 0 && errno == EAGAIN)
        BIO_set_retry_write(b);
    else if (r < 0)
        t->failed = -errno;
    *done = r > 0 ? (size_t)r : 0;
    return r > 0;
}

static int bio_read(BIO *b, char *p, size_t n, size_t *done)
{
    struct tls_stream *t = BIO_get_data(b);
    ssize_t r = -1;
    BIO_clear_retry_flags(b);
    *done = 0;
    if (t->budget == 0) {
        BIO_set_retry_read(b);
        return 0;
    }
    do
        r = recv(t->fd, p, n < t->budget ? n : t->budget, MSG_DONTWAIT);
    while (r < 0 && errno == EINTR);
    if (r < 0 && errno == EAGAIN)
        BIO_set_retry_read(b);
    else if (r <= 0)
        t->failed = r < 0 ? -errno : -EPIPE;
    if (r <= 0)
        return 0;
    t->budget -= (size_t)r;
    *done = (size_t)r;
    return 1;
}

static long bio_ctrl(BIO *b, int what, long n, void *p)
{
    (void)b;
    (void)n;
    (void)p;
    return what == BIO_CTRL_FLUSH ? 1 : 0;
}

static void make_method(void)
{
    method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "parley socket");
    if (!method || !BIO_meth_set_write_ex(method, bio_write) ||
        !BIO_meth_set_read_ex(method, bio_read) || !BIO_meth_set_ctrl(method, bio_ctrl)) {
        BIO_meth_free(method);
        method = NULL;
    }
}

/* --- streams ---------------------------------------------------------------------------------- */

SSL_CTX *tls_context(int server)
{
    SSL_CTX *ctx = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
    if (!ctx)
        return NULL;
    if (!SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION)) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(ctx, 0);
    SSL_CTX_set_max_early_data(ctx, 0);
    /* Several records with one recv. */
    SSL_CTX_set_read_ahead(ctx, 1);
    SSL_CTX_set_default_read_buffer_len(ctx, 64 * 1024);
    return ctx;
}

int tls_open(struct tls_stream *t, SSL_CTX *ctx, int fd, int server)
{
    pthread_once(&made, make_method);
    *t = (struct tls_stream){.fd = fd, .budget = TLS_BUDGET};
    BIO *b = method ? BIO_new(method) : NULL;
    t->ssl = b ? SSL_new(ctx) : NULL;
    if (!t->ssl) {
        BIO_free(b);
        return -ENOMEM;
    }
    BIO_set_data(b, t);
    BIO_set_init(b, 1);
    SSL_set_bio(t->ssl, b, b);
    if (server)
        SSL_set_accept_state(t->ssl);
    else
        SSL_set_connect_state(t->ssl);
    return 0;
}

void tls_close(struct tls_stream *t)
{
    SSL_free(t->ssl);
    t->ssl = NULL;
}

/* A call of OpenSSL returned `r`, not success. 0: wait; or a negative errno. */
static int judge(struct tls_stream *t, int r)
{
    switch (SSL_get_error(t->ssl, r)) {
    case SSL_ERROR_WANT_READ:
        t->wants = POLLIN;
        return 0;
    case SSL_ERROR_WANT_WRITE:
        t->wants = POLLOUT;
        return 0;
    case SSL_ERROR_ZERO_RETURN:
        return -EPIPE;
    case SSL_ERROR_SSL:
        return -EPROTO;
    default:
        return t->failed ? t->failed : -EPIPE;
    }
}

int tls_handshake(struct tls_stream *t)
{
    t->budget = TLS_BUDGET;
    ERR_clear_error();
    int r = SSL_do_handshake(t->ssl);
    return r == 1 ? 1 : judge(t, r);
}

ssize_t tls_read(struct tls_stream *t, void *p, size_t n)
{
    size_t done = 0, got;
    while (done < n) {
        ERR_clear_error();
        int r = SSL_read_ex(t->ssl, (char *)p + done, n - done, &got);
        if (r == 1) {
            done += got;
            continue;
        }
        int e = judge(t, r);
        if (e < 0 && done == 0) /* else what came before is handed out first: it stays an error */
            return e == -EPROTO ? -EBADMSG : -EPIPE;
        break;
    }
    return (ssize_t)done;
}

ssize_t tls_write(struct tls_stream *t, const void *p, size_t n)
{
    size_t done = 0, took;
    while (done < n) {
        ERR_clear_error();
        int r = SSL_write_ex(t->ssl, (const char *)p + done, n - done, &took);
        if (r == 1) {
            done += took;
            continue;
        }
        if (judge(t, r) < 0)
            return -EPIPE;
        break;
    }
    return (ssize_t)done;
}

int tls_bye(struct tls_stream *t)
{
    ERR_clear_error();
    int r = SSL_shutdown(t->ssl);
    if (r >= 0)
        return 1;
    return judge(t, r) < 0 ? -EPIPE : 0;
}

const char *tls_problem(void)
{
    static _Thread_local char text[200];
    unsigned long e = ERR_peek_last_error();
    const char *why = e ? ERR_reason_error_string(e) : NULL;
    snprintf(text, sizeof text, "%s", why ? why : "the connection ended");
    return text;
}

/* --- fingerprints ----------------------------------------------------------------------------- */

void tls_fingerprint(const X509 *cert, char out[TLS_FINGERPRINT])
{
    unsigned char hash[EVP_MAX_MD_SIZE] = {0};
    unsigned n = 0;
    X509_digest(cert, EVP_sha256(), hash, &n);
    int at = snprintf(out, TLS_FINGERPRINT, "SHA256:");
    hex_put(hash, 32, out + at);
}

int tls_fingerprint_parse(const char *text, char out[TLS_FINGERPRINT])
{
    char digits[65];
    size_t n = 0;
    if (strncasecmp(text, "SHA256:", 7) == 0)
        text += 7;
    for (; *text; text++) {
        if (*text == ':' && n > 0 && n % 2 == 0)
            continue;
        if (!isxdigit((unsigned char)*text) || n == 64)
            return -EINVAL;
        digits[n++] = (char)tolower((unsigned char)*text);
    }
    if (n != 64)
        return -EINVAL;
    digits[64] = '\0';
    snprintf(out, TLS_FINGERPRINT, "SHA256:%s", digits);
    return 0;
}
