// Reads partition 0 of a topic from its start up to an offset with kafkajs and prints one JSON line a record.
// Arguments: BROKER TOPIC LAST. For test_compaction.py.
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
const { Kafka, CompressionTypes, CompressionCodecs, logLevel } = kafkajs;
const [broker, topic, last] = process.argv.slice(2);

// Java's frame around raw blocks, or one raw block.
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

async function main() {
  const simple = await new Promise((resolve) => zstd.run((z) => resolve(new z.Simple())));
  CompressionCodecs[CompressionTypes.Snappy] = () => ({ compress: null, decompress: async (buffer) => snappyDecompress(buffer) });
  CompressionCodecs[CompressionTypes.LZ4] = () => ({ compress: null, decompress: async (buffer) => Buffer.from(lz4.decompress(buffer)) });
  CompressionCodecs[CompressionTypes.ZSTD] = () => ({ compress: null, decompress: async (buffer) => Buffer.from(simple.decompress(buffer)) });
  const kafka = new Kafka({ clientId: 'reader', brokers: [broker], logLevel: logLevel.ERROR });
  const consumer = kafka.consumer({ groupId: 'compaction-js', maxWaitTimeInMs: 200, maxBytesPerPartition: 3000, readUncommitted: false });
  await consumer.connect();
  await consumer.subscribe({ topics: [topic], fromBeginning: true });
  await new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error('the last record does not come')), 90000).unref();
    consumer.run({
      autoCommit: false,
      eachMessage: async ({ message }) => {
        console.log(JSON.stringify({ offset: message.offset, key: message.key.toString(), value: message.value && message.value.toString() }));
        if (BigInt(message.offset) >= BigInt(last)) resolve();
      },
    }).catch(reject);
  });
  await consumer.disconnect();
}

main().then(() => process.exit(0), (error) => {
  console.error(error);
  process.exit(1);
});
