/* TLS: a child of parleyd that accepts, terminates TLS and passes plain bytes on.
 *
 *      remote client ══TLS══► relay ──socketpair──► hub        (bytes of one session)
 *                               │ ▲
 *                               └─┴── the channel ──► hub      (struct tls_note, SOCK_SEQPACKET)
 *
 * So the code that reads what anybody on a network sends has neither the hub's memory nor its turn,
 * and the private key is in no process but this one: the hub opens the two files and sends their
 * descriptors. A relay that dies takes only its own connections with it, whose clients resume. What
 * a relay that was taken over can do: to its own clients everything, and lie about addresses. */
#pragma once

#include "server/options.h"
#include "tls/stream.h"

/* Descriptors of the child. The listening sockets follow. */
#define TLS_FD_CHANNEL   3
#define TLS_FD_LISTENERS 4

/* Who is at the other end. IPv4 in the first four bytes; an IPv4 address in IPv6 is IPv4. */
struct peer {
    uint8_t family; /* AF_INET, AF_INET6; 0: not known */
    uint8_t address[16];
};

void peer_of(struct peer *p, const void *sockaddr);
/* The part of it that one subscriber of a network has: the address, or its /64. */
struct peer peer_owner(struct peer p);
#define PEER_TEXT 48
void peer_text(const struct peer *p, char out[PEER_TEXT]);

enum tls_note_type {
    /* hub to relay */
    TLS_LOAD, /* with two descriptors: certificates and key, PEM; and the limits */
    /* relay to hub */
    TLS_LOADED, /* text: the fingerprint */
    TLS_FAILED, /* text: why what was sent cannot be used; what was there before stays */
    TLS_CLIENT, /* with one descriptor: a client that has finished its handshake */
};

struct tls_note {
    uint32_t type;
    uint32_t listener; /* TLS_CLIENT: number of the listening socket */
    struct peer peer;
    uint32_t max_clients, max_per_user; /* TLS_LOAD */
    char text[200];
};

/* tls_cert.c */

/* Make sure that DIR has a certificate of its own: tls-cert.pem and tls-key.pem (P-256, signed by
 * itself), made in a process of its own if there is none. 0 or a negative errno, logged. */
int tls_cert_make(const char *dir);

/* Read certificates and key from two descriptors (borrowed, read from their beginning) into a new
 * context. NULL with *why (at least 200 bytes) set. */
SSL_CTX *tls_cert_load(int cert, int key, char fingerprint[TLS_FINGERPRINT], char *why, size_t cap);

/* tls_relay.c: the child. Returns the exit code. */
int tls_relay_main(int listeners);
