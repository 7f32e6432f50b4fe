// @platformatic/kafka (npm) as members of consumer groups, both protocols: the newer one, where the broker assigns (KIP-848), and
// the classic one in its newest versions. Arguments: BROKER first|second. See run_client.py.
// What it proves: while members come, go and crash, every record is delivered, no partition has two owners at the end, and the
// second phase, after a restart of the server, goes on where the first was.

// Written for Node 22: the one thing that Node 20 lacks of what the client uses.
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
const { Admin, Consumer, MessagesStreamModes, Producer, stringDeserializers, stringSerializers } = kafka;

const [broker, phase] = process.argv.slice(2);
const options = { clientId: 'groups-test', bootstrapBrokers: [broker], retries: 5 };
const TOPIC = 'grouped';
const PARTITIONS = 6;

function check(condition, what) {
  if (!condition) throw new Error(what);
}

// Asks again until the condition holds.
async function until(condition, what, seconds = 60) {
  const end = Date.now() + seconds * 1000;
  while (!(await condition())) {
    check(Date.now() < end, `not within ${seconds} s: ${what()}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function withAdmin(fn) {
  const admin = new Admin(options);
  try {
    return await fn(admin);
  } finally {
    await admin.close();
  }
}

async function produce(from, to) {
  const producer = new Producer({ ...options, serializers: stringSerializers });
  const messages = [];
  for (let i = from; i < to; i++) messages.push({ topic: TOPIC, partition: i % PARTITIONS, key: `k${i}`, value: `v${i}` });
  await producer.send({ messages, acks: -1 });
  await producer.close();
}

class Member {
  constructor(group, groupProtocol, more = {}) {
    this.seen = [];
    this.consumer = new Consumer({
      ...options, groupId: group, groupProtocol, deserializers: stringDeserializers, sessionTimeout: 6000, rebalanceTimeout: 20000,
      heartbeatInterval: 500, ...more,
    });
  }

  async start() {
    this.stream = await this.consumer.consume({
      topics: [TOPIC], mode: MessagesStreamModes.COMMITTED, fallbackMode: 'earliest', autocommit: 100, maxWaitTime: 100,
    });
    this.stream.on('data', (message) => { this.seen.push(message.value); });
    this.stream.on('error', () => {});
    return this;
  }

  owned() {
    return (this.consumer.assignments ?? []).filter((a) => a.topic === TOPIC).flatMap((a) => a.partitions);
  }

  async close() {
    await this.stream?.close();
    await this.consumer.close(true);
  }
}

// Every partition has exactly one of the members.
function isShared(members) {
  const all = members.flatMap((m) => m.owned()).sort((a, b) => a - b);
  return all.length === PARTITIONS && all.every((p, i) => p === i) && members.every((m) => m.owned().length > 0);
}

const describe = (members) => JSON.stringify(members.map((m) => m.owned()));

async function allSeen(members, to) {
  const seen = new Set();
  await until(() => {
    members.forEach((m) => m.seen.forEach((v) => seen.add(v)));
    return seen.size >= to;
  }, () => `${to} different records; ${seen.size} are there`);
  for (let i = 0; i < to; i++) check(seen.has(`v${i}`), `v${i} was lost`);
}

async function comeAndGo(protocol) {
  const group = `g-${protocol}`;
  const a = await new Member(group, protocol).start();
  await until(() => isShared([a]), () => `one member has all: ${describe([a])}`);
  await produce(0, 60);
  await allSeen([a], 60);
  const b = await new Member(group, protocol).start();
  await until(() => isShared([a, b]), () => `two members share: ${describe([a, b])}`);
  await produce(60, 120);
  await allSeen([a, b], 120);
  const c = await new Member(group, protocol).start();
  await until(() => isShared([a, b, c]), () => `three members share: ${describe([a, b, c])}`);
  await a.close();
  await until(() => isShared([b, c]), () => `two of three are left: ${describe([b, c])}`);
  await produce(120, 180);
  await allSeen([a, b, c], 180);
  await b.close();
  await c.close();
}

async function listed(group) {
  return withAdmin(async (admin) => (await admin.listGroups({ types: ['classic', 'consumer'] })).get(group));
}

const first = {
  async 'prepares'() {
    await withAdmin((admin) => admin.createTopics({ topics: [TOPIC], partitions: PARTITIONS, replicas: 1 }));
  },
  async 'members of a consumer group come and go, nothing is lost'() {
    await comeAndGo('consumer');
    const group = await listed('g-consumer');
    check(group.groupType === 'consumer' && group.state === 'Empty', `listed as ${JSON.stringify(group)}`);
  },
  async 'members of a classic group come and go, nothing is lost'() {
    await withAdmin((admin) => admin.deleteTopics({ topics: [TOPIC] }));
    await withAdmin((admin) => admin.createTopics({ topics: [TOPIC], partitions: PARTITIONS, replicas: 1 }));
    await comeAndGo('classic');
    const group = await listed('g-classic');
    check(group.groupType === 'classic' && group.state === 'Empty', `listed as ${JSON.stringify(group)}`);
  },
  async 'a consumer group reads to the end and commits'() {
    const a = await new Member('g-kept', 'consumer').start();
    await until(() => isShared([a]), () => `one member has all: ${describe([a])}`);
    await allSeen([a], 180);
    await a.close();
  },
  async 'a group of the one kind refuses members of the other'() {
    const a = await new Member('g-mixed', 'consumer').start();
    await until(() => isShared([a]), () => `one member has all: ${describe([a])}`);
    const b = new Member('g-mixed', 'classic');
    let error = null;
    await b.start().catch((e) => { error = e; });
    check(error !== null, 'a classic member joined a consumer group');
    await b.consumer.close(true).catch(() => {});
    await a.close();
  },
};

const second = {
  async 'goes on after the restart'() {
    let before = 180;
    for (const [group, protocol] of [['g-classic', 'classic'], ['g-kept', 'consumer']]) {
      const a = await new Member(group, protocol).start();
      await until(() => isShared([a]), () => `one member has all: ${describe([a])}`);
      await produce(before, before + 30);
      const all = Array.from({ length: 30 }, (_, i) => `v${before + i}`);
      await until(() => all.every((v) => a.seen.includes(v)), () => `all of ${all[0]} and on; ${a.seen.length} are there`);
      check(a.seen.length <= 60, `${a.seen.length} records: it began anew`);
      await a.close();
      before += 30;
    }
  },
};

for (const [name, test] of Object.entries(phase === 'first' ? first : second)) {
  await test();
  console.log(`ok ${name}`);
}
process.exit(0);
