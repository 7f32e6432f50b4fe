/* main.c: weir-sim: runs seeds and judges their histories.
 *
 *   weir-sim --seed 7 [--verbose]      one seed, exactly as it was
 *   weir-sim --seeds 1:10000 --jobs 2  many; a seed that fails is printed with the commit
 *   weir-sim --list FILE               the seeds at the beginning of each line
 *   weir-sim --check FILE              judges a history from elsewhere (history.h)
 *
 * Every hundredth seed runs twice: the traces must be the same, or something in the program is not decided by the
 * seed. Exit code: 0 nothing is wrong, 1 something is, 2 wrong use. */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "sim_commit.h"
#include "world.h"

#define TWICE_EVERY 100

struct options {
    uint64_t first, last;
    int n_jobs;
    const char *history_file, *out_file, *list_file;
    bool is_verbose;
};

static void result_print(const struct plan *p, int n_wrong, uint64_t trace)
{
    if (n_wrong == 0) return;
    fprintf(stderr, "FAILED: seed %llu, commit %s, %d wrong, trace %016llx\n    ", (unsigned long long)p->seed,
            SIM_COMMIT, n_wrong, (unsigned long long)trace);
    plan_write(p, stderr);
    fprintf(stderr, "    again: weir-sim --seed %llu --verbose\n", (unsigned long long)p->seed);
}

static int history_save(const struct history *h, const char *path)
{
    FILE *out = fopen(path, "w");

    if (out == NULL) {
        perror(path);
        return 2;
    }
    history_write(h, out);
    return fclose(out) == 0 ? 0 : 2;
}

/* The number of things that are wrong. */
static int seed_run(uint64_t seed, const struct options *o, uint64_t *trace)
{
    struct history h;
    struct world w;
    struct plan p;
    int n_wrong;

    plan_make(&p, seed);
    history_init(&h);
    world_run(&w, &p, &h, o->is_verbose);
    *trace = world_trace(&w);
    world_free(&w);
    n_wrong = history_check(&h, stderr);
    result_print(&p, n_wrong, *trace);
    if (o->out_file != NULL && history_save(&h, o->out_file) != 0) n_wrong++;
    history_deinit(&h);
    return n_wrong;
}

/* Every n_jobs-th seed from `first` on; the number of seeds that failed, at most 100. */
static int seeds_run(const struct options *o, uint64_t first)
{
    uint64_t trace, again;
    int n_failed = 0;

    for (uint64_t seed = first; seed <= o->last && n_failed < 100; seed += (uint64_t)o->n_jobs) {
        int n_wrong = seed_run(seed, o, &trace);
        if (seed % TWICE_EVERY == 0 && n_wrong == 0) {
            n_wrong = seed_run(seed, o, &again);
            if (again != trace) {
                fprintf(stderr, "FAILED: seed %llu, commit %s: two runs differ\n", (unsigned long long)seed,
                        SIM_COMMIT);
                n_wrong++;
            }
        }
        n_failed += n_wrong > 0;
    }
    return n_failed;
}

static int jobs_run(const struct options *o)
{
    int n_failed = 0, status;

    for (int i = 1; i < o->n_jobs; i++) {
        pid_t pid = fork();
        if (pid < 0) {
            perror("fork");
            return 2;
        }
        if (pid == 0) _exit(seeds_run(o, o->first + (uint64_t)i));
    }
    n_failed = seeds_run(o, o->first);
    while (wait(&status) > 0)
        n_failed += WIFEXITED(status) ? WEXITSTATUS(status) : 1;
    printf("%llu seeds, %d failed\n", (unsigned long long)(o->last - o->first + 1), n_failed);
    return n_failed > 0;
}

static int list_run(const char *path, const struct options *o)
{
    FILE *in = fopen(path, "r");
    int n = 0, n_failed = 0;
    uint64_t trace;
    char line[256];

    if (in == NULL) {
        perror(path);
        return 2;
    }
    while (fgets(line, sizeof line, in) != NULL) {
        uint64_t seed = strtoull(line, NULL, 10);
        if (seed == 0) continue; /* a comment */
        n++;
        n_failed += seed_run(seed, o, &trace) > 0;
    }
    (void)fclose(in);
    printf("%d seeds of the list, %d failed\n", n, n_failed);
    return n == 0 || n_failed > 0;
}

static int file_check(const char *path)
{
    FILE *in = strcmp(path, "-") == 0 ? stdin : fopen(path, "r");
    struct history h;
    struct err e = {0};

    if (in == NULL) {
        perror(path);
        return 2;
    }
    history_init(&h);
    enum err_code rc = history_read(&h, in, &e);
    if (in != stdin) (void)fclose(in);
    if (rc != ERR_NONE) fprintf(stderr, "%s: %s\n", path, e.text);
    int n_wrong = rc == ERR_NONE ? history_check(&h, stderr) : 0;
    if (rc == ERR_NONE) printf("%u events, %d wrong\n", h.n - 1, n_wrong);
    history_deinit(&h);
    return rc != ERR_NONE ? 2 : n_wrong > 0;
}

static int usage(void)
{
    fputs("usage: weir-sim --seed N [--verbose] [--out FILE]\n"
          "       weir-sim --seeds FIRST:LAST [--jobs N]\n"
          "       weir-sim --list FILE\n"
          "       weir-sim --check FILE\n",
          stderr);
    return 2;
}

static bool seeds_parse(const char *text, struct options *o)
{
    char *end;

    o->first = o->last = strtoull(text, &end, 10);
    if (*end == ':') o->last = strtoull(end + 1, &end, 10);
    return *end == '\0' && end != text && o->last >= o->first;
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {
        {"seed", 1, NULL, 's'},  {"seeds", 1, NULL, 's'}, {"jobs", 1, NULL, 'j'}, {"verbose", 0, NULL, 'v'},
        {"check", 1, NULL, 'c'}, {"out", 1, NULL, 'o'},   {"list", 1, NULL, 'l'}, {0}};
    struct options o = {.n_jobs = 1};
    bool has_seeds = false;
    int k;

    while ((k = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        switch (k) {
        case 's':
            has_seeds = seeds_parse(optarg, &o);
            if (!has_seeds) return usage();
            break;
        case 'j': o.n_jobs = atoi(optarg) > 0 ? atoi(optarg) : 1; break;
        case 'v': o.is_verbose = true; break;
        case 'c': o.history_file = optarg; break;
        case 'o': o.out_file = optarg; break;
        case 'l': o.list_file = optarg; break;
        default: return usage();
        }
    }
    if (o.list_file != NULL) return list_run(o.list_file, &o);
    if (o.history_file != NULL) return file_check(o.history_file);
    return has_seeds ? jobs_run(&o) : usage();
}
