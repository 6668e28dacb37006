/* The first words of an image for a Cortex-M: its stack, and where it starts (newlib does the rest). */
extern char __stack[];
extern void _start(void);

static void halt(void) {
    for (;;) {
    }
}

__attribute__((section(".vectors"), used)) static void *const vectors[16] = {
    __stack, (void *)_start, (void *)halt, (void *)halt,
};
