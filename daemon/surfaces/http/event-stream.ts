import type { Fact } from '../../contracts/fact.ts'
import type { FactReader } from './port.ts'
import type { OpenStream } from './streams.ts'

/** A page of older facts: small enough to let other requests in between. */
const PAGE_FACTS = 500
/** Live facts kept while older ones are still read; what does not fit is read from the journal instead. */
const AHEAD_FACTS_MAX = 1_000

/**
 * Sends every fact after `after` that `wanted` accepts, without a gap and in order: first from the journal, then live.
 *
 * Ends with a `lagged` event when the client reads too slowly; it comes back with the id of the last fact it read.
 */
export async function streamFacts(
  stream: OpenStream,
  facts: FactReader,
  after: number,
  wanted: (fact: Fact) => boolean,
): Promise<void> {
  const ahead: Fact[] = []
  let lastSeq = after
  let live = false

  const send = (fact: Fact): void => {
    if (fact.seq <= lastSeq) return
    if (wanted(fact) && stream.write(eventOf(fact)) === 'full') stream.end(laggedEvent(lastSeq))
    else lastSeq = fact.seq
  }
  const unsubscribe = facts.subscribe((fact) => {
    if (live) return send(fact)
    ahead.push(fact)
    if (ahead.length > AHEAD_FACTS_MAX) ahead.shift()
  })
  stream.onClose(unsubscribe)

  while (!stream.closed) {
    const page = await facts.read(lastSeq, PAGE_FACTS)
    for (const fact of page) {
      send(fact)
      if (!(await stream.drained())) return stream.end(laggedEvent(lastSeq))
    }
    // From here to `live` nothing waits, so nothing can come between.
    const next = ahead.find((fact) => fact.seq > lastSeq)
    const seamless = next === undefined ? facts.head() <= lastSeq : next.seq === lastSeq + 1
    if (!seamless && page.length > 0) continue
    if (!seamless) return stream.end(laggedEvent(lastSeq))
    live = true
    for (const fact of ahead.splice(0)) send(fact)
    return
  }
}

function eventOf(fact: Fact): string {
  return `id: ${fact.seq}\nevent: ${fact.type}\ndata: ${JSON.stringify(fact)}\n\n`
}

/** Without an id, so that the client still resumes behind the last fact it was sent. */
function laggedEvent(lastSeq: number): string {
  return `event: lagged\ndata: ${JSON.stringify({ resume_after: lastSeq })}\n\n`
}
