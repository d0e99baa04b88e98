/* Which keys do what in the edited line, beside readline's own: those that are about the screen,
 * and those behind which readline 8.2 has functions that must not run here. */
#pragma once

/* After rl_initialize. `tell` gets an enum edit_key, from inside readline. */
void edit_keys_bind(void (*tell)(void *ctx, int key), void *ctx);
