/* See environ.h. Reads /proc and /sys; what is not there is left out. */
#include "client/bench/environ.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "base/version.h"
#include "client/bench/pin.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

/* More processes than this waiting for a CPU besides us, for each CPU, is a busy machine. */
#define BUSY_PER_CPU 0.3
#define CLOCK_READS  20000

static const char *const sysctls[] = {"kernel.msgmnb",
                                      "kernel.msgmax",
                                      "kernel.msgmni",
                                      "fs.mqueue.msg_max",
                                      "fs.mqueue.msgsize_max",
                                      "fs.mqueue.queues_max",
                                      "fs.pipe-max-size",
                                      "fs.pipe-user-pages-soft",
                                      "net.core.wmem_default",
                                      "net.core.wmem_max",
                                      "net.core.rmem_default",
                                      "net.core.rmem_max",
                                      "net.ipv4.tcp_rmem",
                                      "net.ipv4.tcp_wmem",
                                      "kernel.perf_event_paranoid",
                                      "kernel.sched_autogroup_enabled"};

/* The first line of a file, without its end and with single spaces. 0 or -1. */
static int first_line(const char *path, char *out, size_t cap)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, out, cap - 1);
    if (fd >= 0)
        close(fd);
    if (n <= 0)
        return -1;
    out[n] = '\0';
    out[strcspn(out, "\n")] = '\0';
    for (char *p = out; *p; p++)
        if (*p == '\t')
            *p = ' ';
    return 0;
}

static void put(json_t *o, const char *key, const char *text)
{
    json_object_set_new(o, key, json_string(text));
}

static void put_cpu(json_t *o)
{
    char line[512];
    FILE *f = fopen("/proc/cpuinfo", "re");
    while (f && fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');
        if (!colon || (strncmp(line, "model name", 10) != 0 && strncmp(line, "Model", 5) != 0))
            continue;
        colon[1 + strcspn(colon + 1, "\n")] = '\0';
        put(o, "cpu", colon + 1 + strspn(colon + 1, " "));
        break;
    }
    if (f)
        fclose(f);
    json_object_set_new(o, "cpus", json_integer(sysconf(_SC_NPROCESSORS_ONLN)));
    json_object_set_new(o, "cpus_allowed", json_integer(pin_cpus()));
    if (first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", line, sizeof line) == 0)
        put(o, "governor", line);
    else
        put(o, "governor", "none");
    if (first_line("/sys/devices/system/cpu/cpuidle/current_driver", line, sizeof line) == 0)
        put(o, "cpuidle", line);
    if (first_line("/sys/hypervisor/type", line, sizeof line) == 0 ||
        first_line("/sys/class/dmi/id/sys_vendor", line, sizeof line) == 0)
        put(o, "hardware", line);
}

static void put_limits(json_t *o)
{
    char path[128], value[128];
    struct rlimit l;
    json_t *s = json_object();
    for (size_t i = 0; i < sizeof sysctls / sizeof *sysctls; i++) {
        snprintf(path, sizeof path, "/proc/sys/%s", sysctls[i]);
        for (char *p = path + 10; *p; p++)
            if (*p == '.')
                *p = '/';
        if (first_line(path, value, sizeof value) == 0)
            put(s, sysctls[i], value);
    }
    json_object_set_new(o, "sysctl", s);
    if (getrlimit(RLIMIT_MSGQUEUE, &l) == 0)
        json_object_set_new(
            o, "rlimit_msgqueue",
            json_integer(l.rlim_cur == RLIM_INFINITY ? -1 : (json_int_t)l.rlim_cur));
    if (getrlimit(RLIMIT_NOFILE, &l) == 0)
        json_object_set_new(o, "rlimit_nofile", json_integer((json_int_t)l.rlim_cur));
}

/* What one look at the clock takes: the least that can be told apart. */
static double clock_cost(void)
{
    uint64_t start = mono_ns(), last = start;
    for (int i = 0; i < CLOCK_READS; i++)
        last = mono_ns();
    return (double)(last - start) / CLOCK_READS;
}

json_t *environ_new(void)
{
    struct utsname u;
    char text[224];
    time_t now = time(NULL);
    struct tm tm;
    double load[1];
    json_t *o = json_object();
    put(o, "parley", PARLEY_VERSION);
    if (strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm)) > 0)
        put(o, "date", text);
    if (uname(&u) == 0) {
        snprintf(text, sizeof text, "%s %s %s", u.sysname, u.release, u.machine);
        put(o, "kernel", text);
    }
    put_cpu(o);
    if (getloadavg(load, 1) == 1)
        json_object_set_new(o, "load", json_real(load[0]));
    json_object_set_new(o, "clock_ns", json_real(clock_cost()));
    put_limits(o);
    return o;
}

static const char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "not known";
}

void environ_print(FILE *to, const json_t *o)
{
    const char *key;
    json_t *value;
    double load = json_number_value(json_object_get(o, "load"));
    long long cpus = json_integer_value(json_object_get(o, "cpus"));
    fprintf(to, "%s, parley %s, %s\n", text_of(o, "date"), text_of(o, "parley"),
            text_of(o, "kernel"));
    fprintf(to, "%s, %lld CPUs (%lld allowed), governor %s, load average %.2f\n", text_of(o, "cpu"),
            cpus, json_integer_value(json_object_get(o, "cpus_allowed")), text_of(o, "governor"),
            load);
    fprintf(to, "a look at the clock takes %.0f ns; RLIMIT_MSGQUEUE %lld",
            json_number_value(json_object_get(o, "clock_ns")),
            json_integer_value(json_object_get(o, "rlimit_msgqueue")));
    int column = 80;
    json_object_foreach(json_object_get(o, "sysctl"), key, value)
    {
        int n = (int)(strlen(key) + strlen(json_string_value(value))) + 3;
        column += n;
        fprintf(to, column > 100 ? "\n%s = %s" : ", %s = %s", key, json_string_value(value));
        column = column > 100 ? n : column;
    }
    fputc('\n', to);
    if (cpus > 0 && load > BUSY_PER_CPU * (double)cpus)
        fprintf(to,
                "WARNING: the machine was busy when this began: load average %.2f for %lld "
                "CPUs; expect wide spreads\n",
                load, cpus);
}
