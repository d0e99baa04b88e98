/* A secret that people can type: "k7fm-9qxd-p2wt". Letters and digits that are not mistaken for one
 * another, 59 random bits: enough where guesses are limited to a few a second, and nowhere else. */
#pragma once

#define TOKEN_BYTES 14

void token_make(char out[TOKEN_BYTES + 1]);
