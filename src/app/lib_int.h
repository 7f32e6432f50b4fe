/* lib_int.h: what the command line needs of the embedded library beyond weir.h. */
#ifndef WEIR_APP_LIB_INT_H
#define WEIR_APP_LIB_INT_H

#include "flow/engine.h"
#include "weir/weir.h"

/* Runs a script with a sink of the caller's. Returns when sink->done was called; false: the script waits for what cannot happen here
 * and was cancelled (weir_errmsg says so; done was not called). */
bool weir_run_script(weir *w, struct bytes text, struct sql_sink *sink);

#endif
