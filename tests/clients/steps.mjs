// A session's steps, each told as a JSON line; the last line says that it came to the end.
export async function tell(steps) {
  for (const [step, run] of Object.entries(steps)) {
    const failure = await run().then(() => null, (error) => `${error.stack}\n${JSON.stringify(error.cause ?? error.response ?? null)}`);
    console.log(JSON.stringify({ step, failure }));
  }
  console.log(JSON.stringify({ done: true }));
}
