/* Standard input: 8-bit pixels of images, one after another; standard output: their 8-bit logits. */
#include <stdio.h>

#include "classifier.h"

int main(void) {
    static uint8_t pixels[HEMLINE_PIXELS];
    int8_t logits[HEMLINE_CLASSES];
    while (fread(pixels, sizeof pixels, 1, stdin) == 1) {
        hemline_infer(pixels, logits);
        if (fwrite(logits, sizeof logits, 1, stdout) != 1) {
            return 1;
        }
    }
    return ferror(stdin) != 0;
}
