/* ListOffsets: where a partition begins and ends, and which offset belongs to a time. */
#include "door/kafka/kafka_int.h"

#define TIME_LATEST (-1)
#define TIME_EARLIEST (-2)
#define TIME_MAX (-3)            /* version 7 */
#define TIME_EARLIEST_LOCAL (-4) /* version 8: nothing is tiered, so all of it is local */
#define TIME_LATEST_TIERED (-5)  /* version 9: nothing is */

typedef struct kafka_list_offsets_response_partition partition_out;

static enum err_code look_up(const struct kafka_request *q, struct partition *p, int64_t time, bool is_committed,
                             partition_out *out, struct err *e)
{
    int version = kafka_version(q);

    if (time == TIME_LATEST) {
        out->offset = is_committed ? partition_last_stable(p) : partition_high_watermark(p);
        return ERR_NONE;
    }
    if (time == TIME_EARLIEST || (time == TIME_EARLIEST_LOCAL && version >= 8)) {
        out->offset = partition_log_start(p);
        return ERR_NONE;
    }
    if (time == TIME_MAX && version >= 7) return partition_offset_of_max_time(p, &out->offset, &out->timestamp, e);
    if (time == TIME_LATEST_TIERED && version >= 9) return ERR_NONE;
    if (time < 0) return err_set(e, ERR_INVALID, "timestamp %lld has no meaning", (long long)time);
    return partition_offset_for_time(p, time, &out->offset, &out->timestamp, e);
}

static int16_t answer(struct kafka_request *q, struct bytes name, const struct kafka_list_offsets_request_partition *in,
                      bool is_committed, partition_out *out)
{
    struct broker *b = kafka_broker(q);
    struct topic *t = topic_find(b, name);
    struct partition *p = t ? topic_partition(t, in->index) : NULL;
    struct err e;
    enum err_code rc;

    if (!kafka_may(q, ACL_DESCRIBE, ACL_TOPIC, name)) return KE_TOPIC_AUTHORIZATION_FAILED;
    if (p == NULL) return KE_UNKNOWN_TOPIC_OR_PARTITION;
    if (in->current_leader_epoch > broker_epoch(b)) return KE_UNKNOWN_LEADER_EPOCH;
    if (in->current_leader_epoch >= 0 && in->current_leader_epoch < broker_epoch(b)) return KE_FENCED_LEADER_EPOCH;
    rc = look_up(q, p, in->timestamp, is_committed, out, &e);
    if (rc != ERR_NONE) {
        out->offset = out->timestamp = -1;
        return kafka_error_of(rc);
    }
    if (out->offset >= 0) out->leader_epoch = broker_epoch(b);
    if (kafka_version(q) == 0 && out->offset >= 0 && in->max_num_offsets > 0) {
        out->old_style_offsets.at = arena_new(&q->arena, int64_t);
        out->old_style_offsets.at[0] = out->offset;
        out->old_style_offsets.n = 1;
    }
    return KE_NONE;
}

void kafka_handle_list_offsets(struct kafka_request *q, void *body)
{
    const struct kafka_list_offsets_request *in = body;
    struct kafka_list_offsets_response out;

    wire_init(&kafka_list_offsets_response_wire, &out);
    out.topics.n = in->topics.n;
    out.topics.at = arena_array(&q->arena, (size_t)in->topics.n, sizeof *out.topics.at);
    for (int32_t i = 0; i < in->topics.n; i++) {
        const struct kafka_list_offsets_request_topic *from = &in->topics.at[i];
        struct kafka_list_offsets_response_topic *to = &out.topics.at[i];

        to->name = from->name;
        to->partitions.n = from->partitions.n;
        to->partitions.at = arena_array(&q->arena, (size_t)from->partitions.n, sizeof *to->partitions.at);
        for (int32_t j = 0; j < from->partitions.n; j++) {
            partition_out *p = &to->partitions.at[j];

            wire_init(&kafka_list_offsets_response_partition_wire, p);
            p->index = from->partitions.at[j].index;
            p->error_code = answer(q, from->name, &from->partitions.at[j], in->isolation_level == 1, p);
        }
    }
    kafka_reply(q, &out);
}
