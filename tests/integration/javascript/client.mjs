// What the official JavaScript client sees of port 8123, as one JSON document. Usage: node client.mjs URL
import { createRequire } from "node:module";

// From the folder that we are run in, where npm has put it.
const { createClient } = createRequire(`${process.cwd()}/`)("@clickhouse/client");
const url = process.argv[2];
const reader = createClient({ url, username: "reader", compression: { response: true } });
const writer = createClient({
  url,
  username: "writer",
  password: "pw",
  session_id: "a-session",
  compression: { request: true },
});
const seen = {};

async function failure(work) {
  try {
    await work();
    return null;
  } catch (error) {
    return { code: error.code ?? "", type: error.type ?? "" };
  }
}

seen.ping = (await reader.ping()).success;
const json = await reader.query({
  query: "SELECT {text:String} AS text, {some:Array(UInt8)} AS some",
  query_params: { text: "a\n'b\\", some: [1, 2] },
  query_id: "chosen",
  clickhouse_settings: { output_format_json_quote_64bit_integers: 0, wait_end_of_query: 1 },
});
seen.query_id = json.query_id;
seen.json = (await json.json()).data;

const rows = await reader.query({ query: "SELECT number AS n FROM numbers(200000)", format: "JSONEachRow" });
seen.streamed = 0;
for await (const batch of rows.stream()) {
  seen.streamed += batch.length;
}

await writer.command({ query: "CREATE TABLE js (a UInt64, s String) ENGINE = MergeTree ORDER BY a" });
const inserted = await writer.insert({ table: "js", values: [{ a: 1, s: "x" }, { a: 2, s: "y" }], format: "JSONEachRow" });
seen.written_rows = inserted.summary?.written_rows;
await writer.insert({ table: "js", values: [], format: "JSONEachRow" });
seen.rows = await (await reader.query({ query: "SELECT * FROM js ORDER BY a", format: "CSV" })).text();

seen.write = await failure(() => reader.command({ query: "DROP TABLE js" }));
seen.unknown = await failure(() => reader.query({ query: "SELECT nope" }));
seen.broken = await failure(async () => {
  const query = "SELECT throwIf(number = 900000) AS n FROM numbers(1000000)";
  const answer = await reader.query({ query, format: "JSONEachRow" });
  for await (const batch of answer.stream()) { void batch; }
});
await reader.close();
await writer.close();
console.log(JSON.stringify(seen));
