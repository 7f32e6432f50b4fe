// kafkajs (npm), the JavaScript client. Arguments: BROKER first|second. See run_client.py.
// Gzip is built in; the other codecs are plugged in as its documentation says, each with a codec from npm in pure JavaScript.
'use strict';

let kafkajs, snappy, lz4, zstd;
try {
  kafkajs = require('kafkajs');
  snappy = require('snappyjs');
  lz4 = require('lz4js');
  zstd = require('zstd-codec').ZstdCodec;
} catch (error) {
  process.exit(77);
}
const { Kafka, CompressionTypes, CompressionCodecs, ConfigResourceTypes, logLevel } = kafkajs;

const COUNT = 200;
const PARTITIONS = 4;
const CODECS = { none: CompressionTypes.None, gzip: CompressionTypes.GZIP, snappy: CompressionTypes.Snappy, lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD };

const key = (i) => `key-${i}`;
const value = (tag, i) => `${tag} ${i} ` + 'the same words again and '.repeat(i % 20);
const timestamp = (i) => Number(process.env.TIMESTAMP_BASE_MS) + i * 1000;

function check(condition, what) {
  if (!condition) throw new Error(what);
}

// Asks again until the condition holds.
async function until(condition, what, seconds = 40) {
  const end = Date.now() + seconds * 1000;
  while (!(await condition())) {
    check(Date.now() < end, `not within ${seconds} s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

// Java's snappy streams have a frame of their own around blocks; what librdkafka and others write is one raw block.
const XERIAL = Buffer.from([130, 83, 78, 65, 80, 80, 89, 0]);
function snappyDecompress(buffer) {
  if (!buffer.subarray(0, 8).equals(XERIAL)) return Buffer.from(snappy.uncompress(buffer));
  const parts = [];
  for (let at = 16; at < buffer.length;) {
    const size = buffer.readInt32BE(at);
    parts.push(Buffer.from(snappy.uncompress(buffer.subarray(at + 4, at + 4 + size))));
    at += 4 + size;
  }
  return Buffer.concat(parts);
}

async function plugInCodecs() {
  CompressionCodecs[CompressionTypes.Snappy] = () => ({
    compress: async (encoder) => Buffer.from(snappy.compress(encoder.buffer)),
    decompress: async (buffer) => snappyDecompress(buffer),
  });
  CompressionCodecs[CompressionTypes.LZ4] = () => ({
    compress: async (encoder) => Buffer.from(lz4.compress(encoder.buffer)),
    decompress: async (buffer) => Buffer.from(lz4.decompress(buffer)),
  });
  const simple = await new Promise((resolve) => zstd.run((z) => resolve(new z.Simple())));
  CompressionCodecs[CompressionTypes.ZSTD] = () => ({
    compress: async (encoder) => Buffer.from(simple.compress(encoder.buffer)),
    decompress: async (buffer) => Buffer.from(simple.decompress(buffer)),
  });
}

async function withAdmin(kafka, fn) {
  const admin = kafka.admin();
  await admin.connect();
  try {
    return await fn(admin);
  } finally {
    await admin.disconnect();
  }
}

async function send(kafka, topic, tag, from, to, { compression = CompressionTypes.None, partition, ...options } = {}) {
  const producer = kafka.producer(options);
  await producer.connect();
  const messages = [];
  for (let i = from; i < to; i++) {
    messages.push({ key: key(i), value: value(tag, i), timestamp: String(timestamp(i)), headers: { n: String(i) }, partition });
  }
  for (let at = 0; at < messages.length; at += 50) {
    await producer.send({ topic, acks: -1, compression, messages: messages.slice(at, at + 50) });
  }
  await producer.disconnect();
}

// Reads `count` messages from the beginning with a group of its own.
async function read(kafka, topic, count, groupId) {
  const consumer = kafka.consumer({ groupId, sessionTimeout: 6000, heartbeatInterval: 500, maxWaitTimeInMs: 200 });
  const found = [];
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  await consumer.run({ autoCommit: false, eachMessage: async ({ message }) => { found.push(message); } });
  await until(() => found.length >= count, `${topic}: ${count} messages`);
  await consumer.disconnect();
  check(found.length === count, `${topic}: ${found.length} instead of ${count}`);
  return found;
}

function checkMessages(found, tag) {
  found.forEach((message, i) => {
    check(message.offset === String(i), `${tag}: offset ${message.offset} instead of ${i}`);
    check(message.key.toString() === key(i) && message.value.toString() === value(tag, i), `${tag}: content of ${i}`);
    check(message.timestamp === String(timestamp(i)), `${tag}: timestamp of ${i}`);
    check(message.headers.n.toString() === String(i), `${tag}: header of ${i}`);
  });
}

const first = {
  async 'admin creates, describes, lists and deletes topics'(kafka) {
    await withAdmin(kafka, async (admin) => {
      const topics = ['js-admin', 'js-gone'].map((topic) => ({ topic, numPartitions: 3 }));
      check(await admin.createTopics({ topics, waitForLeaders: true }), 'created');
      check(!(await admin.createTopics({ topics })), 'created twice');
      check((await admin.listTopics()).includes('js-gone'), 'listed');
      const { topics: [about] } = await admin.fetchTopicMetadata({ topics: ['js-admin'] });
      check(about.partitions.length === 3, 'three partitions');
      await admin.deleteTopics({ topics: ['js-gone'] });
      await until(async () => !(await admin.listTopics()).includes('js-gone'), 'the topic is gone');
    });
  },

  async 'admin changes configurations, adds partitions and deletes records'(kafka) {
    const resource = { type: ConfigResourceTypes.TOPIC, name: 'js-alter' };
    await withAdmin(kafka, async (admin) => {
      const config = async (name) => (await admin.describeConfigs({ resources: [resource], includeSynonyms: true }))
        .resources[0].configEntries.find((c) => c.configName === name);
      const change = (configEntries) => admin.alterConfigs({ resources: [{ ...resource, configEntries }] });
      const refused = async (promise, what) => {
        const error = await promise.then(() => null, (e) => e);
        check(error && (error.type === what || (error.errors || []).some((e) => e.type === what)), `${what} and not ${error}`);
      };
      await admin.createTopics({ topics: [{ topic: 'js-alter', numPartitions: 1 }], waitForLeaders: true });
      await change([{ name: 'retention.ms', value: '86400000' }]);
      check((await config('retention.ms')).configValue === '86400000', 'altered');
      check((await config('retention.bytes')).isDefault || (await config('retention.bytes')).configSource === 5, 'default');
      await refused(change([{ name: 'retention.ms', value: 'soon' }]), 'INVALID_CONFIG');
      await admin.createPartitions({ topicPartitions: [{ topic: 'js-alter', count: 3 }] });
      const { topics: [about] } = await admin.fetchTopicMetadata({ topics: ['js-alter'] });
      check(about.partitions.length === 3, 'three partitions');
      await refused(admin.createPartitions({ topicPartitions: [{ topic: 'js-alter', count: 2 }] }), 'INVALID_PARTITIONS');
      await send(kafka, 'js-alter', 'alter', 0, COUNT, { partition: 2 });
      await admin.deleteTopicRecords({ topic: 'js-alter', partitions: [{ partition: 2, offset: '50' }] });
      const low = async () => (await admin.fetchTopicOffsets('js-alter')).find((p) => p.partition === 2).low;
      check((await low()) === '50', `low ${await low()}`);
      await admin.deleteTopicRecords({ topic: 'js-alter', partitions: [{ partition: 2, offset: '-1' }] });
      check((await low()) === String(COUNT), `low ${await low()}`);
    });
  },

  async 'each codec comes back byte for byte, with key, headers and timestamp'(kafka) {
    for (const [name, compression] of Object.entries(CODECS)) {
      await withAdmin(kafka, (admin) => admin.createTopics({ topics: [{ topic: `js-${name}`, numPartitions: 1 }] }));
      await send(kafka, `js-${name}`, name, 0, COUNT, { compression });
      checkMessages(await read(kafka, `js-${name}`, COUNT, `js-first-${name}`), name);
    }
  },

  async 'offsets are found by time'(kafka) {
    await withAdmin(kafka, async (admin) => {
      const [place] = await admin.fetchTopicOffsetsByTimestamp('js-none', timestamp(COUNT / 2) - 1);
      check(place.offset === String(COUNT / 2), `offset ${place.offset}`);
      const [ends] = await admin.fetchTopicOffsets('js-none');
      check(ends.low === '0' && ends.high === String(COUNT), `${ends.low}..${ends.high}`);
    });
  },

  async 'a group reads a part and commits'(kafka) {
    await withAdmin(kafka, (admin) => admin.createTopics({ topics: [{ topic: 'js-group', numPartitions: 1 }] }));
    await send(kafka, 'js-group', 'group', 0, COUNT);
    const consumer = kafka.consumer({ groupId: 'js-half', sessionTimeout: 6000, heartbeatInterval: 500, maxWaitTimeInMs: 200 });
    let seen = 0;
    await consumer.connect();
    await consumer.subscribe({ topic: 'js-group', fromBeginning: true });
    await consumer.run({ autoCommit: false, eachMessage: async ({ message }) => {
      if (seen === COUNT / 2) return;
      check(message.offset === String(seen), 'in order');
      seen++;
    } });
    await until(() => seen === COUNT / 2, 'half of the topic');
    await consumer.commitOffsets([{ topic: 'js-group', partition: 0, offset: String(seen) }]);
    await consumer.disconnect();
  },

  async 'two consumers share a topic, and one takes over when the other leaves'(kafka) {
    await withAdmin(kafka, (admin) => admin.createTopics({ topics: [{ topic: 'js-shared', numPartitions: PARTITIONS }] }));
    const seen = new Set();
    const members = [];
    for (let i = 0; i < 2; i++) {
      const consumer = kafka.consumer({ groupId: 'js-share', sessionTimeout: 6000, heartbeatInterval: 300, rebalanceTimeout: 8000,
        maxWaitTimeInMs: 200 });
      const member = { consumer, assigned: [], count: 0 };
      consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => { member.assigned = payload.memberAssignment['js-shared'] || []; });
      await consumer.connect();
      await consumer.subscribe({ topic: 'js-shared', fromBeginning: true });
      await consumer.run({ eachMessage: async ({ partition, message }) => {
        seen.add(`${partition}/${message.offset}`);
        member.count++;
      } });
      members.push(member);
    }
    await until(() => members.every((m) => m.assigned.length === 2), 'both have two partitions');
    for (let partition = 0; partition < PARTITIONS; partition++) await send(kafka, 'js-shared', 'shared', 0, 50, { partition });
    await until(() => seen.size === 50 * PARTITIONS, 'everything is read');
    check(members.every((m) => m.count > 0), 'both read');
    await members[1].consumer.disconnect();
    await until(() => members[0].assigned.length === PARTITIONS, 'the one that stays has all partitions');
    await members[0].consumer.disconnect();
  },

  async 'an idempotent producer stores each message once and in order'(kafka) {
    await withAdmin(kafka, (admin) => admin.createTopics({ topics: [{ topic: 'js-idempotent', numPartitions: 1 }] }));
    await send(kafka, 'js-idempotent', 'idempotent', 0, 1000, { idempotent: true, maxInFlightRequests: 1 });
    checkMessages(await read(kafka, 'js-idempotent', 1000, 'js-idempotent'), 'idempotent');
  },

  async 'transactions are committed and aborted, with the offsets of a group'(kafka) {
    await withAdmin(kafka, (admin) => admin.createTopics({ topics: [{ topic: 'js-txn', numPartitions: 1 },
      { topic: 'js-in', numPartitions: 1 }] }));
    await send(kafka, 'js-in', 'in', 0, 30, {});
    const producer = kafka.producer({ transactionalId: 'js-tx', maxInFlightRequests: 1, idempotent: true });
    await producer.connect();
    for (let round = 0; round < 4; round++) {
      const transaction = await producer.transaction();
      await transaction.send({ topic: 'js-txn', messages: Array.from({ length: 10 }, (_, i) => ({ key: 'k', value: `${round}-${i}` })) });
      await transaction.sendOffsets({ consumerGroupId: 'js-transform',
        topics: [{ topic: 'js-in', partitions: [{ partition: 0, offset: String(round * 5 + 5) }] }] });
      if (round % 2 === 0) await transaction.commit();
      else await transaction.abort();
    }
    await producer.disconnect();
    await committedOnly(kafka, 'js-first');
  },
};

// The rounds 0 and 2 of the transactions, and the offset that came with the latter.
async function committedOnly(kafka, groupId) {
  const want = [0, 2].flatMap((round) => Array.from({ length: 10 }, (_, i) => `${round}-${i}`));
  const consumer = kafka.consumer({ groupId, sessionTimeout: 6000, heartbeatInterval: 500, maxWaitTimeInMs: 200, readUncommitted: false });
  const found = [];
  await consumer.connect();
  await consumer.subscribe({ topic: 'js-txn', fromBeginning: true });
  await consumer.run({ eachMessage: async ({ message }) => { found.push(message.value.toString()); } });
  await until(() => found.length >= want.length, 'what was committed');
  await consumer.disconnect();
  check(JSON.stringify(found) === JSON.stringify(want), `read ${found}`);
  await withAdmin(kafka, async (admin) => {
    const [offsets] = await admin.fetchOffsets({ groupId: 'js-transform', topics: ['js-in'] });
    check(offsets.partitions[0].offset === '15', `offset ${offsets.partitions[0].offset}`);
  });
}

const second = {
  async 'what was committed and what was aborted is so after the restart'(kafka) {
    await committedOnly(kafka, 'js-after');
  },

  async 'changes of configuration and partitions, and deleted records, survived the restart'(kafka) {
    await withAdmin(kafka, async (admin) => {
      const { resources: [about] } = await admin.describeConfigs({ resources: [{ type: ConfigResourceTypes.TOPIC, name: 'js-alter',
        configNames: ['retention.ms'] }] });
      check(about.configEntries[0].configValue === '86400000', 'altered');
      const places = await admin.fetchTopicOffsets('js-alter');
      check(places.length === 3 && places.find((p) => p.partition === 2).low === String(COUNT), 'three, and trimmed');
    });
  },

  async 'each codec is still there after the restart'(kafka) {
    for (const name of Object.keys(CODECS)) checkMessages(await read(kafka, `js-${name}`, COUNT, `js-second-${name}`), name);
  },

  async 'the committed offset survived the restart: the group goes on there'(kafka) {
    const consumer = kafka.consumer({ groupId: 'js-half', sessionTimeout: 6000, heartbeatInterval: 500, maxWaitTimeInMs: 200 });
    let at = COUNT / 2;
    let wrong = null;
    await consumer.connect();
    await consumer.subscribe({ topic: 'js-group', fromBeginning: true });
    await consumer.run({ eachMessage: async ({ message }) => {
      if (message.offset !== String(at)) wrong = wrong || `offset ${message.offset} instead of ${at}`;
      at++;
    } });
    await until(() => at >= COUNT || wrong, 'the other half');
    await consumer.disconnect();
    check(!wrong, wrong);
  },

  async 'groups are listed, described and deleted'(kafka) {
    await withAdmin(kafka, async (admin) => {
      check((await admin.listGroups()).groups.some((g) => g.groupId === 'js-half'), 'listed');
      const { groups: [about] } = await admin.describeGroups(['js-half']);
      check(about.state === 'Empty', `state ${about.state}`);
      await admin.deleteGroups(['js-half']);
      check(!(await admin.listGroups()).groups.some((g) => g.groupId === 'js-half'), 'gone');
    });
  },
};

async function main([broker, phase]) {
  await plugInCodecs();
  const kafka = new Kafka({ clientId: 'weir-test', brokers: [broker], logLevel: logLevel.NOTHING,
    retry: { initialRetryTime: 50, retries: 8 } });
  for (const [name, test] of Object.entries(phase === 'first' ? first : second)) {
    try {
      await test(kafka);
    } catch (error) {
      console.error(error);
      console.log(`not ok kafkajs: ${name}`);
      process.exit(1);
    }
    console.log(`ok kafkajs: ${name}`);
  }
  process.exit(0);
}

main(process.argv.slice(2));
