/* parley: the client. Finds the command and runs it; without one it is the interactive chat. */
#include "client/chat.h"
#include "client/command.h"
#include "client/remote.h"
#include "client/suggest.h"

#include "base/io.h"
#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READING (TAKES_ALL | TAKES_READ | TAKES_COUNT | TAKES_TIMEOUT)
#define ASKING  (TAKES_ALL | TAKES_TIMEOUT)

/* Sorted by name: find_command searches by halves. */
/* clang-format off */
static const struct command commands[] = {
    {"bench", bench_run, TAKES_ALL | TAKES_BENCH | TAKES_COUNT | TAKES_TIMEOUT, 0, 0, 64,
     "[NAME [KIND]]", "measure; without a name: the list of benchmarks"},
    {"bot", bot_run, TAKES_ALL | TAKES_BOT | TAKES_COUNT, 0, 2, 4096, "#ROOM... -- COMMAND [ARGUMENT]...",
     "run COMMAND for each message, say what it prints"},
    {"doctor", doctor_run, TAKES_ALL, 0, 0, 0, "", "limits, permissions, left-over IPC objects"},
    {"export", export_run, READING | TAKES_FILTER | TAKES_PAST | TAKES_FILE, 0, 1, 1, "#ROOM",
     "all that was said, as text or JSON lines, into a file (-o) or to standard output"},
    {"file", file_run, ASKING | TAKES_FILE, 0, 2, 3, "put|get|list #ROOM [FILE]",
     "send a file to a room; fetch one by its number or name; list them"},
    {"guest", guest_run, TAKES_ALL | TAKES_GUEST, 1, 1, 1, "#ROOM",
     "a participant that answers with how long a line took to reach it"},
    {"history", history_run, READING | TAKES_FILTER | TAKES_PAST, 0, 1, 1, "#ROOM", "print what was said (default: --last 20)"},
    {"lab", lab_run, TAKES_ALL | TAKES_LAB, 0, 0, 1, "[NAME]",
     "demonstrations of what each mechanism does; without a name: which"},
    {"ping", ping_run, ASKING | TAKES_COUNT, 0, 0, 0, "", "round trip by each transport"},
    {"race", race_run, TAKES_ALL | TAKES_RACE | TAKES_COUNT, 0, 0, 1, "[TEXT]",
     "the same burst over all transports at once"},
    {"rooms", rooms_run, ASKING, 0, 0, 0, "", "rooms with their members and topics"},
    {"search", search_run, READING | TAKES_FILTER | TAKES_PAST, 0, 2, 2, "#ROOM TEXT",
     "print the messages with TEXT in them, in either case, from the first on"},
    {"send", send_run, ASKING | TAKES_SEND, 0, 1, 2, "#ROOM [TEXT|-]",
     "say each line of standard input, or TEXT; ends when all is acknowledged"},
    {"tail", tail_run, READING | TAKES_FILTER, 0, 1, 1, "#ROOM", "print what is being said, line by line"},
    {"top", top_run, TAKES_ALL | TAKES_COUNT | TAKES_TOP, 0, 0, 0, "",
     "the server's inside, live, read from its statistics page"},
    {"trace", trace_run, ASKING | TAKES_COUNT, 0, 2, 2, "#ROOM TEXT",
     "say TEXT, and show hop by hop how it reached everybody"},
    {"transports", transports_run, ASKING, 0, 0, 0, "",
     "what this server offers, and the limits in force"},
    {"who", who_run, ASKING, 0, 0, 1, "[#ROOM]", "who is there, by which transport"},
};
static const struct command chat = {NULL, chat_main, TAKES_ALL | TAKES_CHAT, 0, 0, 1, "[#ROOM]", "chat"};
/* clang-format on */
#define COMMANDS (sizeof commands / sizeof *commands)

static int by_name(const void *word, const void *command)
{
    return strcmp(word, ((const struct command *)command)->name);
}

static const struct command *find_command(const char *word)
{
    if (!word || *word == '#' || *word == '@')
        return &chat;
    return bsearch(word, commands, COMMANDS, sizeof *commands, by_name);
}

static void help(void)
{
    printf("usage: parley [OPTION]... [#ROOM]            chat\n"
           "       parley [OPTION]... COMMAND [OPERAND]...\n\nCommands:\n");
    for (size_t i = 0; i < COMMANDS; i++) {
        char left[64];
        if (commands[i].hidden)
            continue;
        snprintf(left, sizeof left, "%s %s", commands[i].name, commands[i].usage);
        int n = (int)strlen(left);
        printf("  %s%s%*s%s\n", left, n > 24 ? "\n" : "", n > 24 ? 27 : 25 - n, "",
               commands[i].summary);
    }
    printf("\nOptions of every command:\n");
    options_help(TAKES_ALL);
    printf("\nOptions of the chat:\n");
    options_help(TAKES_CHAT);
    printf(
        "\nparley COMMAND --help tells the others. Defaults: $XDG_CONFIG_HOME/parley/parley.conf\n"
        "\nExit: 0 done, 1 error, 2 usage, 69 no server, 75 acknowledgement unknown (safe to\n"
        "repeat), 77 denied, 124 time ran out, 130 interrupted,\n"
        "141 the reader of the output went away.\n");
}

/* What was printed must have arrived. A reader that went away (`| head`) had what it wanted: then
 * we end as programs do that SIGPIPE kills, unless there is worse to be told. */
static int end_of_output(int code)
{
    struct pollfd p = {.fd = STDOUT_FILENO};
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    const char *why = errno ? errno_name(errno) : "an earlier write failed";
    if (poll(&p, 1, 0) > 0) /* nobody is at the other end, or it is closed */
        return code ? code : 128 + SIGPIPE;
    log_error("cannot write to standard output (%s)", why);
    return code ? code : 1;
}

int main(int argc, char **argv)
{
    struct options o;
    const struct command *command = NULL;
    io_standard_fds();
    signal(SIGPIPE, SIG_IGN); /* a reader that went away is an error of write, or nothing at all */
    log_setup("parley", LOG_INFO);
    if (argc > 1 && strcmp(argv[1], "--complete") == 0)
        return suggest_complete(commands, COMMANDS, &chat, argc - 2, argv + 2);
    if (argc > 1 && strcmp(argv[1], "--table") == 0)
        return suggest_table(commands, COMMANDS);
    int code = options_parse(&o, argc, argv, &command, find_command, help);
    if (code >= 0)
        return end_of_output(code);
    log_setup("parley", o.quiet ? LOG_ERROR : o.verbose ? LOG_DEBUG : LOG_INFO);
    code = remote_prepare(&o);
    return end_of_output(code > 0 ? code : command->run(&o));
}
