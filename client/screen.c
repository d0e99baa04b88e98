/* See screen.h. */
#include "client/screen.h"

#include "base/clock.h"
#include "base/io.h"

#include "proto/text.h"

#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

/* Alternate screen, no cursor, lines are cut and not wrapped; and back. */
#define ENTER "\033[?1049h\033[?25l\033[?7l\033[2J"
#define LEAVE "\033[?7h\033[?25h\033[?1049l"

static struct termios before;
static volatile sig_atomic_t ending, resized, stopped;
static int is_open, gone;
/* Keys that were read and not yet asked for. */
static unsigned char keys[64];
static size_t key_count;

static const int ends[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
static const int crashes[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
#define COUNT(a) (sizeof(a) / sizeof *(a))

int screen_possible(void)
{
    const char *term = getenv("TERM");
    return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && term && *term &&
           strcmp(term, "dumb") != 0;
}

/* --- entering and leaving -------------------------------------------------------------------- */

static void say(const char *s)
{
    if (write(STDOUT_FILENO, s, strlen(s)) < 0)
        gone = 1;
}

static void enter(void)
{
    struct termios raw = before;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO); /* keys at once, Ctrl-C and Ctrl-Z as ever */
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
    say(ENTER);
}

static void leave(void)
{
    say(LEAVE);
    tcsetattr(STDIN_FILENO, TCSADRAIN, &before);
}

static void on_crash(int signo)
{
    leave();
    raise(signo); /* by default now: SA_RESETHAND */
}

static void on_end(int signo)
{
    ending = signo;
}

static void on_resize(int signo)
{
    (void)signo;
    resized = 1;
}

static void on_stop(int signo)
{
    (void)signo;
    stopped = 1;
}

static void handle(int signo, void (*handler)(int), int flags)
{
    struct sigaction sa = {.sa_handler = handler, .sa_flags = flags};
    sigaction(signo, &sa, NULL);
}

int screen_open(void)
{
    if (tcgetattr(STDIN_FILENO, &before) < 0)
        return -errno;
    ending = resized = stopped = gone = 0;
    key_count = 0;
    for (size_t i = 0; i < COUNT(ends); i++)
        handle(ends[i], on_end, 0);
    for (size_t i = 0; i < COUNT(crashes); i++)
        handle(crashes[i], on_crash, (int)SA_RESETHAND | SA_NODEFER);
    handle(SIGWINCH, on_resize, 0);
    handle(SIGTSTP, on_stop, 0);
    is_open = 1;
    enter();
    return 0;
}

void screen_close(void)
{
    if (!is_open)
        return;
    is_open = 0;
    leave();
    for (size_t i = 0; i < COUNT(crashes); i++)
        handle(crashes[i], SIG_DFL, 0);
    handle(SIGWINCH, SIG_DFL, 0);
    handle(SIGTSTP, SIG_DFL, 0);
}

/* Ctrl-Z: give the terminal back, stop, and take it again when continued. */
static void stop(void)
{
    stopped = 0;
    leave();
    raise(SIGSTOP); /* not SIGTSTP: that is blocked here, see screen_wait */
    enter();
    resized = 1;
}

/* --- drawing --------------------------------------------------------------------------------- */

void screen_size(int *rows, int *columns)
{
    struct winsize w = {0};
    ioctl(STDOUT_FILENO, TIOCGWINSZ, &w);
    *rows = w.ws_row ? w.ws_row : 24;
    *columns = w.ws_col ? w.ws_col : 80;
}

/* A line as far as it fits. Sequences of escape that stand in it take no room, and are all kept:
 * one behind the cut may end a colour. */
static void put_line(struct buf *frame, const char *p, size_t n, int columns)
{
    int used = 0;
    for (size_t i = 0; i < n;) {
        size_t len = 1;
        if (p[i] == '\033') {
            while (i + len < n && !isalpha((unsigned char)p[i + len - 1]))
                len++;
            buf_append(frame, p + i, len);
        } else {
            while (i + len < n && ((unsigned char)p[i + len] & 0xc0) == 0x80)
                len++;
            used += (int)text_width((struct str){p + i, len});
            if (used <= columns)
                buf_append(frame, p + i, len);
        }
        i += len;
    }
}

void screen_draw(const struct buf *lines)
{
    struct buf frame = {0};
    const char *p = lines->len ? (const char *)buf_head(lines) : "", *end = p + lines->len;
    int rows, columns;
    screen_size(&rows, &columns);
    buf_append(&frame, "\033[H", 3);
    int row = 0;
    for (; row < rows && p < end; row++) {
        const char *nl = memchr(p, '\n', (size_t)(end - p));
        size_t n = (size_t)((nl ? nl : end) - p);
        if (row > 0)
            buf_append(&frame, "\r\n", 2);
        /* Cleared first: behind a full line the cursor still stands in its last column. */
        buf_append(&frame, "\033[K", 3);
        put_line(&frame, p, n, columns);
        p += n + (nl != NULL);
    }
    for (; row < rows; row++)
        buf_append(&frame, "\r\n\033[K", 5);
    if (io_write_full(STDOUT_FILENO, buf_head(&frame), frame.len) < 0)
        gone = 1;
    buf_free(&frame);
}

/* --- waiting --------------------------------------------------------------------------------- */

static void drop_keys(size_t n)
{
    key_count -= n;
    memmove(keys, keys + n, key_count);
}

static int next_key(void)
{
    static const char arrows[] = "DCAB"; /* left, right, up, down */
    int key = keys[0];
    if (key_count >= 3 && key == 033 && (keys[1] == '[' || keys[1] == 'O')) {
        const char *at = keys[2] ? strchr(arrows, keys[2]) : NULL;
        key = at ? SCREEN_LEFT + (int)(at - arrows) : SCREEN_RESIZE;
        drop_keys(at ? 3 : key_count); /* an unknown sequence goes as a whole */
        return key;
    }
    drop_keys(1);
    return key;
}

static int read_key(void)
{
    ssize_t n = read(STDIN_FILENO, keys, sizeof keys);
    if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN))
        gone = 1;
    if (n <= 0)
        return SCREEN_RESIZE;
    key_count = (size_t)n;
    return next_key();
}

static int pending(void)
{
    if (stopped)
        stop();
    if (ending || gone)
        return SCREEN_END;
    if (resized) {
        resized = 0;
        return SCREEN_RESIZE;
    }
    return 0;
}

int screen_wait(uint64_t deadline)
{
    sigset_t all, was;
    if (key_count > 0)
        return next_key();
    sigfillset(&all);
    for (;;) {
        /* Blocked between the look at what came and the wait, so that none is missed there. */
        sigprocmask(SIG_BLOCK, &all, &was);
        int event = pending();
        uint64_t now = mono_ns();
        uint64_t left = deadline > now ? deadline - now : 0;
        struct timespec ts = {.tv_sec = (time_t)(left / NS_PER_SEC),
                              .tv_nsec = (long)(left % NS_PER_SEC)};
        struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
        int r = event ? 0 : ppoll(&p, 1, &ts, &was);
        sigprocmask(SIG_SETMASK, &was, NULL);
        if (event)
            return event;
        if (r > 0)
            return read_key();
        if (r == 0)
            return SCREEN_TIME;
    }
}

int screen_signal(void)
{
    return ending;
}
