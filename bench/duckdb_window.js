// The window query in DuckDB on one thread. Arguments: FILE of newline-delimited JSON. Prints one JSON object:
// seconds from the JSON text (what Weir does, too), seconds from a table that was loaded before, and the result's checksum.
'use strict';
const { DuckDBInstance } = require('@duckdb/node-api');

const WINDOW = `SELECT sensor, ts // 10000 * 10000 AS window_start, COUNT(*) AS n, SUM(v) AS total, MAX(v) AS high
  FROM SOURCE GROUP BY 1, 2`;
const CHECK = (source) => `SELECT COUNT(*)::DOUBLE AS rows, SUM(n)::DOUBLE AS n, SUM(total)::DOUBLE AS total, SUM(high)::DOUBLE AS high
  FROM (${WINDOW.replace('SOURCE', source)})`;

async function main(file) {
  const connection = await (await DuckDBInstance.create(':memory:', { threads: '1' })).connect();
  const json = `read_json('${file}', format = 'newline_delimited',
    columns = {sensor: 'VARCHAR', v: 'BIGINT', ts: 'BIGINT'})`;
  async function best(source) {
    let seconds = Infinity;
    let check;
    for (let i = 0; i < 3; i++) {
      const begin = process.hrtime.bigint();
      check = (await connection.runAndReadAll(CHECK(source))).getRowObjects()[0];
      seconds = Math.min(seconds, Number(process.hrtime.bigint() - begin) / 1e9);
    }
    return { seconds, check };
  }
  const text = await best(json);
  await connection.run(`CREATE TABLE readings AS SELECT * FROM ${json}`);
  const table = await best('readings');
  console.log(JSON.stringify({ text: text.seconds, table: table.seconds, check: text.check }));
}

main(process.argv[2]);
