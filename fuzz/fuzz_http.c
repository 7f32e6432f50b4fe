/* fuzz_http: the request head, paths, queries and chunked bodies from arbitrary bytes. */
#include "door/http/parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes in = bytes_of(data, size);
    struct http_head h;
    struct buf b;
    bool done;
    int n = http_parse_head(in, &h);
    buf_init(&b, 4096);
    if (n > 0) {
        (void)http_decode_path(h.path, &b);
        buf_clear(&b);
        (void)http_query_get(h.query, "format", &b);
        buf_clear(&b);
        in = bytes_slice(in, (size_t)n, size - (size_t)n);
    }
    while ((n = http_parse_chunk(in, &b, &done)) > 0 && !done)
        in = bytes_slice(in, (size_t)n, in.len - (size_t)n);
    buf_deinit(&b);
    return 0;
}
