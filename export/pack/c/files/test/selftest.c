/* Do the images of the pack give the bytes that they gave when it was made? */
#include <stdio.h>
#include <string.h>

#include "classifier.h"
#include "vectors.h"

int main(void) {
    int equal = 0;
    for (int at = 0; at < VECTORS; ++at) {
        int8_t logits[HEMLINE_CLASSES];
        hemline_infer(vector_pixels[at], logits);
        const struct hemline_result found = hemline_decode(logits);
        const int same = memcmp(logits, vector_logits[at], sizeof logits) == 0;
        printf("image %d: %s %d %%%s\n", at, hemline_labels[found.index],
               (int)(100 * found.score + 0.5f), same ? "" : ", other bytes than in the pack");
        equal += same;
    }
    printf("%s: %d of %d images give the bytes of the pack\n",
           equal == VECTORS ? "passed" : "failed", equal, VECTORS);
    return equal != VECTORS;
}
