/* What a guest says to the hypervisor and what it says on its console.  Its command line: `both` (each line both ways)
 * or `crash` (after its ring is in use, its last words go to the hypervisor alone), or `early` (no ring at all, and
 * then a crash). */
#include "kit.h"

static void tell(const char *text) { hypercall(console_io, 0, strlen(text), text); }

void main(void)
{
    const char *how = (const char *)start_info->cmd_line;
    tell("before the ring\n");
    if (starts_with(how, "early"))
        shutdown(SHUTDOWN_crash);
    if (starts_with(how, "both"))
        printf("before the ring\n");
    printf("on the ring\n");
    tell("after the ring\n");
    if (starts_with(how, "wait"))
        for (;;)
            console_wait(), console_read();
    printf("on the ring again\n");
    if (starts_with(how, "crash")) {
        tell("my last words: \x1b[2J\n");
        shutdown(SHUTDOWN_crash);
    }
}
