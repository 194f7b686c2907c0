/* The command `xenia`.  `xenia exec` as it is mostly asked for is carried out here, for an interpreter takes longer to
 * start than a short command to run.  All else is the interpreter's, which this program becomes; so is what is asked
 * for in another way, or does not go well before the command was handed over: it begins from the beginning there, and
 * has the words for it.
 *
 * PYTHON   the interpreter that the package was built for, python3.11 say */

#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "request.h"
#include "streams.h"
#include "command.h"

enum { USAGE = 2 }; /* of cli/exit_status.py */

/* The interpreter of that folder, if there is one, and if it is not in a virtual environment that we are not in. */
static void become_interpreter_of(const char *folder, size_t length, bool is_ours, char **words)
{
    char path[PATH_MAX];
    if (!is_ours) {
        int size = snprintf(path, sizeof path, "%.*s/../pyvenv.cfg", (int)length, folder);
        if (size >= (int)sizeof path || access(path, F_OK) == 0)
            return;
    }
    if (snprintf(path, sizeof path, "%.*s/" PYTHON, (int)length, folder) >= (int)sizeof path)
        return;
    words[0] = path; /* by which it knows where it is */
    execv(path, words);
}

/* The interpreter that has the package: beside us, or else in PATH.  words[0] is for its path. */
static _Noreturn void become_interpreter(char **words)
{
    errno = 0;
    char ours[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", ours, sizeof ours);
    if (length > 0 && length < (ssize_t)sizeof ours && *ours == '/') {
        ours[length] = '\0';
        become_interpreter_of(ours, (size_t)(strrchr(ours, '/') - ours), true, words);
    }
    const char *folder = getenv("PATH");
    if (folder == NULL)
        folder = "/usr/local/bin:/usr/bin:/bin";
    for (size_t size; errno != E2BIG; folder += size + 1) {
        size = strcspn(folder, ":");
        if (*folder == '/' && size < PATH_MAX)
            become_interpreter_of(folder, size, false, words);
        if (folder[size] == '\0')
            break;
    }
    if (errno == E2BIG)
        dprintf(STDERR_FILENO, "xenia: the arguments and the environment are too long\n");
    else
        dprintf(STDERR_FILENO, "xenia: there is no " PYTHON " to run with, neither beside the command nor in PATH\n");
    _exit(USAGE);
}

/* Have the words for a command that was handed over and has no status said; the process ends with theirs. */
static _Noreturn void tell(const char *guest, const char *news)
{
    char *words[] = {
        NULL, "-P", "-c", "from xenia.cli.exec import tell_end; tell_end()", (char *)guest, (char *)news, NULL,
    };
    become_interpreter(words);
}

/* Carry out `xenia exec ARGUMENTS` and end; return where nothing has happened yet. */
static void execute(char **arguments)
{
    static struct request request;
    static struct command command;
    sigset_t signals, before;
    /* What comes while the command is handed over waits until there is somebody to pass it on. */
    block_signals(&signals, &before);
    int status = TO_TELL;
    enum handed handed = OTHERWISE;
    if (read_request(&request, arguments))
        handed = hand_over(&command, &request, &signals);
    if (handed == HANDED_OVER)
        status = serve(&command);
    if (status != TO_TELL)
        _exit(status);
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (handed != OTHERWISE) /* it may be carried out all the same: not to be asked for again */
        tell(request.guest, handed == UNANSWERED ? "{\"unanswered\": true}" : command.news);
}

int main(int count, char **arguments)
{
    if (count > 1 && strcmp(arguments[1], "exec") == 0)
        execute(arguments + 2);
    char **words = calloc((size_t)count + 5, sizeof *words);
    if (words == NULL) {
        dprintf(STDERR_FILENO, "xenia: there is no memory\n");
        return USAGE;
    }
    memcpy(words + 1, (char *[]){"-P", "-m", "xenia"}, 3 * sizeof *words);
    if (count > 1)
        memcpy(words + 4, arguments + 1, (size_t)(count - 1) * sizeof *words);
    become_interpreter(words);
}
