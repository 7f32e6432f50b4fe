/* fuzz_config: INI files as --config reads them, the values of options (sizes, durations, times) and ranges, from arbitrary bytes. */
#include "fuzz.h"

#include <stdlib.h>

#include "app/app_int.h"
#include "app/client.h"
#include "base/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1), why[300];
    struct bytes in = bytes_of(data, size);
    struct bound from, to;
    uint64_t bytes;
    int64_t ms;

    if (text == NULL) return 0;
    memcpy(text, data, size);
    text[size] = 0;
    (void)cli_check_ini(text, why, sizeof why);
    (void)consume_parse_range(text, 1767225600000, &from, &to);
    (void)client_parse_time(in, 1767225600000, &ms);
    (void)text_parse_size(in, &bytes);
    (void)text_parse_duration_ms(in, &ms);
    free(text);
    return 0;
}
