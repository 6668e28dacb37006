/* The first words of an image for a Cortex-M: its stack, and where it starts (newlib does the rest). */
extern char __stack[];
extern void _start(void);

/* A fault ends the emulation with a failure: SYS_EXIT of semihosting, run-time error. */
static void fail(void) {
    __asm__ volatile("mov r0, #0x18\n ldr r1, =0x20023\n bkpt 0xab");
    for (;;) {
    }
}

__attribute__((section(".vectors"), used)) static void *const vectors[16] = {
    __stack, (void *)_start, (void *)fail, (void *)fail,
};
