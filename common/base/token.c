/* See token.h. */
#include "base/token.h"

#include "base/io.h"

#include <string.h>

void token_make(char out[TOKEN_BYTES + 1])
{
    static const char alphabet[] = "abcdefghjkmnpqrstuvwxyz23456789";
    const unsigned letters = sizeof alphabet - 1;
    uint16_t random[TOKEN_BYTES]; /* so wide that the remainder favours no letter to speak of */
    io_random(random, sizeof random);
    for (int i = 0; i < TOKEN_BYTES; i++)
        out[i] = i % 5 == 4 ? '-' : alphabet[random[i] % letters];
    out[TOKEN_BYTES] = '\0';
}
