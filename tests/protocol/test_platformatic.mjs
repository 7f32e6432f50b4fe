// @platformatic/kafka (npm), which speaks only the newest versions. Arguments: BROKER first|second. See run_client.py.
// What it proves that older clients do not: flexible versions throughout, fetching by topic id inside of fetch sessions.
// Written for Node 22: the one thing that Node 20 lacks of what it uses.
Promise.withResolvers ??= function () {
  const all = {};
  all.promise = new Promise((resolve, reject) => Object.assign(all, { resolve, reject }));
  return all;
};

let kafka;
try {
  kafka = await import('@platformatic/kafka');
} catch (error) {
  process.exit(77);
}
const { Admin, Consumer, ListOffsetTimestamps, MessagesStreamModes, Producer, stringDeserializers, stringSerializers } = kafka;

const [broker, phase] = process.argv.slice(2);
const options = { clientId: 'platformatic-test', bootstrapBrokers: [broker], retries: 3 };
const COUNT = 100;

function check(condition, what) {
  if (!condition) throw new Error(what);
}

async function withAdmin(fn) {
  const admin = new Admin(options);
  try {
    return await fn(admin);
  } finally {
    await admin.close();
  }
}

async function send(topic, from, to, more = {}) {
  const producer = new Producer({ ...options, serializers: stringSerializers, ...more });
  for (let i = from; i < to; i += 10) {
    const messages = [];
    for (let j = i; j < i + 10; j++) messages.push({ topic, key: `key-${j}`, value: `value ${j}`, headers: { n: String(j) }, partition: 0 });
    await producer.send({ messages, acks: -1 });
  }
  await producer.close();
}

// Reads `count` messages with a group; in small portions, so that there are many fetches in one session.
async function read(topic, groupId, count, mode) {
  const consumer = new Consumer({ ...options, groupId, deserializers: stringDeserializers, maxWaitTime: 100, maxBytes: 2000,
    sessionTimeout: 10000, heartbeatInterval: 1000, autocommit: false });
  const stream = await consumer.consume({ topics: [topic], mode });
  const found = [];
  for await (const message of stream) {
    found.push(message);
    if (found.length === count) break;
  }
  await found[found.length - 1].commit();
  await stream.close();
  await consumer.close();
  return found;
}

const first = {
  async 'admin creates, describes and deletes topics'() {
    await withAdmin(async (admin) => {
      await admin.createTopics({ topics: ['pf-data', 'pf-tx', 'pf-gone'], partitions: 2, replicas: 1 });
      check((await admin.listTopics()).includes('pf-gone'), 'listed');
      await admin.deleteTopics({ topics: ['pf-gone'] });
      check(!(await admin.listTopics()).includes('pf-gone'), 'gone');
      const metadata = await admin.metadata({ topics: ['pf-data'] });
      check(metadata.topics.get('pf-data').partitionsCount === 2, 'two partitions');
    });
  },

  async 'messages come back through a fetch session'() {
    await send('pf-data', 0, COUNT);
    const found = await read('pf-data', 'pf-first', COUNT, MessagesStreamModes.EARLIEST);
    found.forEach((message, i) => {
      check(message.key === `key-${i}` && message.value === `value ${i}`, `content of ${i}: ${message.value}`);
      check(message.offset === BigInt(i), `offset of ${i}`);
    });
  },

  async 'an idempotent producer'() {
    await send('pf-data', COUNT, COUNT + 20, { idempotent: true });
    const found = await read('pf-data', 'pf-again', COUNT + 20, MessagesStreamModes.EARLIEST);
    check(found[COUNT + 19].value === `value ${COUNT + 19}`, 'the last one');
  },

  async 'transactions are committed and aborted'() {
    const producer = new Producer({ ...options, serializers: stringSerializers, idempotent: true, transactionalId: 'pf-tx' });
    // One aborted transaction: of more in one answer from the same producer this client drops only the last.
    for (let round = 0; round < 3; round++) {
      const transaction = await producer.beginTransaction();
      await transaction.send({ messages: [{ topic: 'pf-tx', key: 'k', value: `round ${round}`, partition: 0 }], acks: -1 });
      await (round % 2 === 0 ? transaction.commit() : transaction.abort());
    }
    await producer.close();
    const found = await read('pf-tx', 'pf-tx-reader', 2, MessagesStreamModes.EARLIEST);
    check(found.map((m) => m.value).join() === 'round 0,round 2', found.map((m) => m.value).join());
  },

  async 'groups are listed and described'() {
    await withAdmin(async (admin) => {
      const groups = await admin.listGroups();
      check(groups.has('pf-first'), 'listed');
      const described = await admin.describeGroups({ groups: ['pf-first'] });
      check(described.get('pf-first').state === 'Empty', described.get('pf-first').state);
    });
  },

  async 'offsets and log directories are told'() {
    await withAdmin(async (admin) => {
      const [topic] = await admin.listOffsets({ topics: [{ name: 'pf-data', partitions: [{ partitionIndex: 0, timestamp: ListOffsetTimestamps.LATEST }] }] });
      check(topic.partitions[0].offset === BigInt(COUNT + 20), String(topic.partitions[0].offset));
      const dirs = await admin.describeLogDirs({ topics: [{ name: 'pf-data', partitions: [0, 1] }] });
      check(dirs.length === 1 && dirs[0].results[0].topics[0].name === 'pf-data', 'the directory');
    });
  },
};

const third = { // part of the first phase: requests that the client has no method for, by its codec
  async 'answers to tools are what another codec reads'() {
    const { describeClusterV1, describeProducersV0, describeTopicPartitionsV0, listTransactionsV2, describeTransactionsV0,
      alterPartitionReassignmentsV1, listPartitionReassignmentsV0 } = kafka;
    const connection = new kafka.Connection('platformatic-test');
    const [host, port] = broker.split(':');
    await connection.connect(host, Number(port));
    const cluster = await describeClusterV1.api.async(connection, true, 1);
    check(cluster.brokers.length === 1 && cluster.brokers[0].port === Number(port), 'the cluster');
    const producers = await describeProducersV0.api.async(connection, [{ name: 'pf-tx', partitionIndexes: [0] }]);
    check(producers.topics[0].partitions[0].activeProducers.length === 1, 'one producer');
    const described = await describeTopicPartitionsV0.api.async(connection, [{ name: 'pf-data' }], 1);
    check(described.topics[0].partitions.length === 1 && described.nextCursor.partitionIndex === 1, 'a portion');
    const rest = await describeTopicPartitionsV0.api.async(connection, [{ name: 'pf-data' }], 10, described.nextCursor);
    check(rest.topics[0].partitions.length === 1 && !rest.nextCursor, 'the rest');
    const listed = await listTransactionsV2.api.async(connection, [], [], -1n, 'pf-.*');
    check(listed.transactionStates.length === 1 && listed.transactionStates[0].transactionalId === 'pf-tx', 'the transaction');
    const [transaction] = (await describeTransactionsV0.api.async(connection, ['pf-tx'])).transactionStates;
    check(transaction.transactionState.toUpperCase().replace('_', '').startsWith('COMPLETE'), transaction.transactionState);
    const topics = [{ name: 'pf-data', partitions: [{ partitionIndex: 0, replicas: [cluster.brokers[0].brokerId] }] }];
    const moved = await alterPartitionReassignmentsV1.api.async(connection, 1000, true, topics);
    check(moved.responses[0].partitions[0].errorCode === 0, 'it is there');
    const moving = await listPartitionReassignmentsV0.api.async(connection, 1000, []);
    check(moving.topics.length === 0, 'nothing moves');
    await connection.close();
  },

  async 'admin changes configurations, partitions, records and offsets'() {
    await withAdmin(async (admin) => {
      const resource = { resourceType: 2, resourceName: 'pf-tx' };
      await admin.incrementalAlterConfigs({ resources: [{ ...resource, configs: [{ name: 'retention.ms', configOperation: 0, value: '86400000' }] }] });
      const [about] = await admin.describeConfigs({ resources: [{ ...resource, configurationKeys: ['retention.ms'] }] });
      check(about.configs[0].value === '86400000', about.configs[0].value);
      await admin.createPartitions({ topics: [{ name: 'pf-tx', count: 3, assignments: null }] });
      await admin.deleteRecords({ topics: [{ name: 'pf-tx', partitions: [{ partition: 0, offset: 1n }] }] });
      await admin.deleteConsumerGroupOffsets({ groupId: 'pf-again', topics: [{ name: 'pf-data', partitionIndexes: [0] }] });
      await admin.deleteGroups({ groups: ['pf-again'] });
      check(!(await admin.listGroups()).has('pf-again'), 'gone');
    });
  },
};

const second = {
  async 'a group goes on where it was'() {
    await send('pf-data', COUNT + 20, COUNT + 40);
    const found = await read('pf-data', 'pf-first', 40, MessagesStreamModes.COMMITTED);
    check(found[0].value === `value ${COUNT}`, found[0].value);
  },
};

const watchdog = setTimeout(() => { console.error('nothing happens any more'); process.exit(1); }, 100000);
for (const [name, run] of Object.entries(phase === 'first' ? { ...first, ...third } : second)) {
  try {
    await run();
    console.log(`ok ${name}`);
  } catch (error) {
    console.error(`FAILED ${name}:`, error, error.errors || '');
    process.exit(1);
  }
}
clearTimeout(watchdog);
process.exit(0);
