/* From start_info to main(). */
#include "kit.h"

void kit_start(struct start_info *info)
{
    start_info = info;
    console_start();
    memory_start();
    traps_start();
    main();
    shutdown(SHUTDOWN_poweroff);
}
