/* InitProducerId: identities for idempotent producers. A producer that comes back with an id gets a new one: without
 * transactions there is nothing that ties the two together, and a fresh id starts at sequence 0 as its client does
 * after the answer. */
#include "door/kafka/kafka_int.h"

void kafka_handle_init_producer_id(struct kafka_request *q, void *body)
{
    const struct kafka_init_producer_id_request *in = body;
    struct kafka_init_producer_id_response out;
    struct err e;
    enum err_code rc;

    wire_init(&kafka_init_producer_id_response_wire, &out);
    out.producer_epoch = -1;
    if (in->transactional_id.ptr != NULL) {
        /* Not retriable: the client stops and says so, instead of asking again until its time is up. */
        out.error_code = in->transactional_id.len == 0 ? KE_INVALID_REQUEST : KE_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
        kafka_reply(q, &out);
        return;
    }
    rc = broker_producer_id_next(kafka_broker(q), &out.producer_id, &e);
    if (rc == ERR_NONE) {
        out.producer_epoch = 0;
    } else {
        out.error_code = KE_COORDINATOR_NOT_AVAILABLE; /* retriable */
        out.producer_id = -1;
        diag_printf(q->conn->door->sys->diag, DIAG_WARN, "kafka", "producer_id error=\"%s\"", e.text);
    }
    kafka_reply(q, &out);
}
