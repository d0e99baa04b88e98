/* What a server that is reached over TLS needs from the person at this end, before any session is
 * opened: that its certificate is the right one, and the secret of an account. Sessions never ask.
 */
#pragma once

#include "client/options.h"

/* Ask on the terminal, if there is one and something is missing: whether the certificate of a
 * server that is not known yet is right (then it is remembered), and for the secret of --account.
 * The secret is looked for in $PARLEY_TOKEN and in the credentials file before; the account, if
 * none was named, in that file. Returns 0, or an exit code with the error printed. Does nothing for
 * servers that are not tls:…. May block until somebody answers. */
int remote_prepare(struct options *o);
