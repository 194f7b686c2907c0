/*
 * The agent's network code as a program of its own, for a network namespace: it configures what cards there are, and
 * says "up" and the name servers when the agent would go on; then it stays.
 */
#define CARD_LINK "/subsystem"
#include "linux.h"
#include "disks.h"
#include "memory.h"
#include "store.h"
#include "window.h"

static const char *hostname = "visitor";

#include "network.h"

__attribute__((noreturn, used)) static void start(void)
{
    char text[TEXT_SIZE + 4] = "up\n";
    prepare_network();
    begin_network();
    call3(SYS_read, network_news, text + 3, TEXT_SIZE);
    say(1, text);
    for (;;)
        call3(SYS_poll, 0, 0, -1);
}

__asm__(".globl _start\n_start:\n xor %ebp, %ebp\n and $-16, %rsp\n call start\n");
