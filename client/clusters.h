/* Keys that move or delete by what a person sees as one character (width.h): readline knows letters
 * and the accents on them, but would take the skin tone off an emoji, or one out of a family. What
 * it did is completed afterwards, so that the keys stay where the person's inputrc has put them. */
#pragma once

/* Before readline takes a key that begins with this byte, and after it has. */
void clusters_before(int byte);
void clusters_after(void);
void clusters_free(void);
