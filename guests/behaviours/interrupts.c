/* `int n`: the guest's own DPL rule, from kernel and from user mode. */
#include "kit.h"

#define from_kernel(n) do { \
        attempt("int $" #n, :); \
        printf("kernel int $" #n ": %s\n", outcome()); \
    } while (0)

user_code(code_3, "int $3");
user_code(code_3s, "int3");
user_code(code_4, "int $4");
user_code(code_6, "int $6");
user_code(code_13, "int $13");
user_code(code_14, "int $14");
user_code(code_2, "int $2");
user_code(code_8, "int $8");
user_code(code_32, "int $0x20");
user_code(code_80, "int $0x80");
user_code(code_81, "int $0x81");
user_code(code_82, "int $0x82");
user_code(code_ff, "int $0xff");

static void from_user(const char *name, const char *code, const char *end)
{
    struct frame f = user_frame();
    user_load(code, end - code);
    user_run(&f);
    printf("user %s: %s error=%lx rip+%ld cs=%lx ss=%lx rflags=%lx\n", name, trap_name(f.vector), f.error,
           f.rip - USER_CODE,
           f.cs, f.ss, f.rflags & ~0x8d5ul);
}
#define user(name, code) from_user(name, code, code##_end)

void main(void)
{
    from_kernel(0x02);
    from_kernel(0x03);
    from_kernel(0x04);
    from_kernel(0x06);
    from_kernel(0x08);
    from_kernel(0x0d);
    from_kernel(0x0e);
    from_kernel(0x20);
    from_kernel(0x80);
    from_kernel(0x81);
    from_kernel(0x82);
    from_kernel(0xff);
    user_start();
    user("int $0x02", code_2);
    user("int $0x03", code_3);
    user("int3", code_3s);
    user("int $0x04", code_4);
    user("int $0x06", code_6);
    user("int $0x08", code_8);
    user("int $0x0d", code_13);
    user("int $0x0e", code_14);
    user("int $0x20", code_32);
    user("int $0x80", code_80);
    user("int $0x81", code_81);
    user("int $0x82", code_82);
    user("int $0xff", code_ff);
    printf("event mask after traps from user: %d\n", vcpu_info->evtchn_upcall_mask);
}
