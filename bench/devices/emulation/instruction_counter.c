/* Plugin of qemu's user mode: counts the instructions of the guest into a shared file of 8 bytes,
   which both the guest and the host may map and read at any time.

   qemu -plugin instruction_counter.so,count=FILE …

   It is told of each block of instructions when it is translated, and asks qemu to add the block's
   length to the counter whenever the block runs. What it uses of the C library and of qemu's plugin
   interface (version 1, docs/devel/tcg-plugins.rst of qemu) is declared here, so that a compiler
   without any header can build it. */

typedef unsigned long long u64;
struct block;

extern int open(const char *path, int flags, ...);
extern void *mmap(void *at, unsigned long size, int protection, int flags, int file, long offset);

extern void qemu_plugin_register_vcpu_tb_trans_cb(u64 plugin, void (*told)(u64, struct block *));
extern unsigned long qemu_plugin_tb_n_insns(const struct block *block);
extern void qemu_plugin_register_vcpu_tb_exec_inline(
    struct block *block, int operation, void *number, u64 operand);

enum { READ_WRITE = 2, READABLE_WRITABLE = 3, SHARED = 1, ADD = 0, NAME = sizeof "count=" - 1 };

int qemu_plugin_version = 1;

static u64 *counter;

static void translated(u64 plugin, struct block *block)
{
    (void)plugin;
    qemu_plugin_register_vcpu_tb_exec_inline(block, ADD, counter, qemu_plugin_tb_n_insns(block));
}

int qemu_plugin_install(u64 plugin, const void *machine, int arguments, char **argument)
{
    int file;

    (void)machine;
    if (arguments != 1)
        return 1;
    file = open(argument[0] + NAME, READ_WRITE);
    if (file < 0)
        return 1;
    counter = mmap(0, sizeof *counter, READABLE_WRITABLE, SHARED, file, 0);
    if (counter == (void *)-1)
        return 1;
    qemu_plugin_register_vcpu_tb_trans_cb(plugin, translated);
    return 0;
}
