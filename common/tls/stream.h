/* TLS 1.3 on a stream socket, without ever blocking: what the server's relay and the client have in
 * common. OpenSSL is used by nobody else but those who make certificates and judge them.
 *
 * The socket is the caller's; no kernel object is made here. OpenSSL reads and writes it through a
 * BIO of ours, because its own one raises SIGPIPE, and because a peer that sends nothing but
 * protocol (key updates, empty records) must not keep us reading for ever: see `budget`. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <openssl/rand.h>
#include <openssl/ssl.h>

struct tls_stream {
    SSL *ssl;      /* NULL: closed */
    int fd;        /* borrowed: open as long as the stream, non-blocking */
    short wants;   /* POLLIN or POLLOUT: what the call that returned 0 waits for */
    size_t budget; /* bytes of the socket that may be read until it is set again */
    int failed;    /* negative errno of the socket, 0: none */
};

/* Bytes that may be read from the socket between two waits. */
#define TLS_BUDGET (256u * 1024u)

/* A context with what both ends agree on: TLS 1.3 only, no tickets, no early data, buffers given
 * back while a connection is quiet. NULL: no memory. */
SSL_CTX *tls_context(int server);

/* 0 or -ENOMEM. `ctx` may go before the stream does. */
int tls_open(struct tls_stream *t, SSL_CTX *ctx, int fd, int server);
void tls_close(struct tls_stream *t); /* says nothing to the peer */

/* 1: done; 0: poll the socket for t->wants; -EPROTO: it failed, tls_problem says why; another
 * negative errno: the socket did. */
int tls_handshake(struct tls_stream *t);

/* Fill up to `n` bytes. 0: nothing now; less than `n`: there is no more until the socket is ready
 * (or there is budget again). -EPIPE: the end, said or not; -EBADMSG: the peer broke the protocol.
 */
ssize_t tls_read(struct tls_stream *t, void *p, size_t n);

/* Returns the bytes taken, less than `n`: the socket is full. The next call must go on where this
 * one stopped. -EPIPE: the peer is gone. */
ssize_t tls_write(struct tls_stream *t, const void *p, size_t n);

/* Say that nothing more will be written. 1: said; 0: the socket is full; negative: the peer is
 * gone.
 */
int tls_bye(struct tls_stream *t);

/* The newest complaint of OpenSSL in this thread, as a sentence without a full stop. Static. */
const char *tls_problem(void);

/* --- fingerprints ----------------------------------------------------------------------------- */

/* "SHA256:" and 64 hexadecimal digits of the certificate: what
 * `openssl x509 -fingerprint -sha256` prints, without its colons. */
#define TLS_FINGERPRINT 72

void tls_fingerprint(const X509 *cert, char out[TLS_FINGERPRINT]);
/* Any case, with or without "SHA256:" and colons between bytes. 0 or -EINVAL. */
int tls_fingerprint_parse(const char *text, char out[TLS_FINGERPRINT]);
