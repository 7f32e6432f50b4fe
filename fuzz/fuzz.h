/* fuzz.h: what each fuzz target defines. The same function is driven by libFuzzer (-Dfuzz_engine=true, clang) or by
 * replay.c, which runs the kept corpus as an ordinary test. A target returns 0, keeps nothing, and must end on any
 * input. */
#ifndef WEIR_FUZZ_FUZZ_H
#define WEIR_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
