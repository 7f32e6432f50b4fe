/* InitProducerId: identities of producers. Without a transactional id there is nothing that ties a producer that comes
 * back to what it was, so it gets a new id, which starts at sequence 0 as its client does after the answer. With one it
 * gets the id's next epoch, and everybody who used an earlier one is fenced. */
#include "door/kafka/kafka_int.h"

struct init {
    struct append_wait wait;
    struct kafka_request *q;
    struct kafka_init_producer_id_response out;
};

static void init_reply(struct init *i, int16_t error)
{
    i->out.error_code = error;
    if (error != KE_NONE) {
        i->out.producer_id = -1;
        i->out.producer_epoch = -1;
    }
    kafka_reply(i->q, &i->out);
}

static void init_durable(struct append_wait *w, enum err_code rc)
{
    init_reply(CONTAINER_OF(w, struct init, wait), kafka_error_of_txn(rc, TXN_OK, KE_NONE));
}

static void init_cancel(struct kafka_request *q)
{
    append_cancel(&((struct init *)q->state)->wait);
}

static void init_transactional(struct init *i, const struct kafka_init_producer_id_request *in)
{
    struct kafka_request *q = i->q;
    struct txn_producer p = {in->transactional_id, in->producer_id, in->producer_epoch, false};
    struct txn_reply r;
    struct err e;

    i->wait.done = init_durable;
    enum err_code rc = txn_init(kafka_broker(q), &p, in->transaction_timeout_ms, &i->wait, &r, &e);
    i->out.producer_id = r.producer_id;
    i->out.producer_epoch = r.epoch;
    if (rc != ERR_NONE)
        init_reply(i, kafka_error_of_txn(rc, r.detail,
                                         kafka_version(q) >= 4 ? KE_PRODUCER_FENCED : KE_INVALID_PRODUCER_EPOCH));
    else if (r.is_durable)
        init_reply(i, KE_NONE);
}

void kafka_handle_init_producer_id(struct kafka_request *q, void *body)
{
    const struct kafka_init_producer_id_request *in = body;
    struct init *i = arena_new(&q->arena, struct init);
    struct err e;

    wire_init(&kafka_init_producer_id_response_wire, &i->out);
    i->q = q;
    kafka_park(q, i, init_cancel, NULL);
    if (in->transactional_id.ptr != NULL && !kafka_may(q, ACL_WRITE, ACL_TRANSACTIONAL_ID, in->transactional_id)) {
        init_reply(i, KE_TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
        return;
    }
    if (in->transactional_id.ptr != NULL) {
        init_transactional(i, in);
        return;
    }
    /* Who may write to some topic may do so idempotently. */
    if (!authorise_any(kafka_broker(q), &q->conn->session, ACL_WRITE, ACL_TOPIC) &&
        !kafka_may(q, ACL_IDEMPOTENT_WRITE, ACL_CLUSTER, BYTES_LIT(ACL_CLUSTER_NAME))) {
        init_reply(i, KE_CLUSTER_AUTHORIZATION_FAILED);
        return;
    }
    enum err_code rc = broker_producer_id_next(kafka_broker(q), &i->out.producer_id, &e);
    if (rc != ERR_NONE) diag_printf(q->conn->door->sys->diag, DIAG_WARN, "kafka", "producer_id error=\"%s\"", e.text);
    init_reply(i, rc == ERR_NONE ? KE_NONE : KE_COORDINATOR_NOT_AVAILABLE); /* retriable */
}
