/* replay.c: runs a fuzz target over kept inputs, without a fuzzing engine.
 *
 *   fuzz_batch corpus/batch [more files or directories]
 *
 * Each input is given whole, then cut at every length up to 64 and at a few places after that: a parser that trusts a
 * length field fails there first. Each copy is allocated exactly, so that the address sanitizer sees a read of one byte
 * too many. */
#include "fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define INPUT_BYTES_MAX (16u << 20)

static unsigned long n_inputs;

static void run_copy(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);

    if (copy == NULL) {
        perror("replay");
        exit(1);
    }
    if (size > 0) memcpy(copy, data, size);
    (void)LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static void run_input(const uint8_t *data, size_t size)
{
    run_copy(data, size);
    for (size_t cut = 0; cut < size && cut < 64; cut++)
        run_copy(data, cut);
    for (size_t part = 1; part < 8; part++)
        run_copy(data, size / 8 * part);
    n_inputs++;
}

static int run_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    long size;
    uint8_t *data = NULL;
    int rc = 1;

    if (file == NULL) goto done;
    if (fseek(file, 0, SEEK_END) != 0 || (size = ftell(file)) < 0 || size > (long)INPUT_BYTES_MAX) goto done;
    rewind(file);
    data = malloc((size_t)size + 1);
    if (data == NULL || fread(data, 1, (size_t)size, file) != (size_t)size) goto done;
    run_input(data, (size_t)size);
    rc = 0;

done:
    if (rc != 0) fprintf(stderr, "replay: %s: %s\n", path, strerror(errno));
    free(data);
    if (file != NULL) fclose(file);
    return rc;
}

static int run_path(const char *path)
{
    struct stat st;
    struct dirent *entry;
    DIR *dir;
    int rc = 0;

    if (stat(path, &st) != 0) {
        fprintf(stderr, "replay: %s: %s\n", path, strerror(errno));
        return 1;
    }
    if (!S_ISDIR(st.st_mode)) return run_file(path);
    dir = opendir(path);
    if (dir == NULL) return 1;
    while ((entry = readdir(dir)) != NULL) {
        char name[4096];

        if (entry->d_name[0] == '.') continue;
        snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        rc |= run_path(name);
    }
    closedir(dir);
    return rc;
}

int main(int argc, char **argv)
{
    int rc = 0;

    run_copy((const uint8_t *)"", 0);
    for (int i = 1; i < argc; i++)
        rc |= run_path(argv[i]);
    printf("%lu inputs replayed\n", n_inputs);
    return rc;
}
