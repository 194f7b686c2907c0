/* SHUTDOWN_crash: the reason arrives at the toolstack. */
#include "kit.h"

void main(void)
{
    printf("about to go\n");
    shutdown(SHUTDOWN_crash);
}
