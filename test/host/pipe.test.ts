import { Duplex } from 'node:stream'
import fc from 'fast-check'
import t from 'tap'
import { type HeartbeatParams, LINE_BYTES_MAX } from '../../daemon/contracts/wire.ts'
import { Pulse } from '../../daemon/host/child/pulse.ts'
import { clearTimers, createOwner, Whose } from '../../daemon/host/child/whose.ts'
import { Figures } from '../../daemon/host/figures.ts'
import { LineSplitter } from '../../daemon/host/lines.ts'
import { RpcBroken, RpcFailure, type RpcLimits, RpcPeer } from '../../daemon/host/rpc.ts'
import { settle, TestClock } from '../support/test-clock.ts'

t.test('lines are the same however the bytes are cut into chunks', async (t) => {
  const text = fc.string({ unit: 'grapheme', maxLength: 40 }).map((line) => line.replaceAll('\n', ' '))
  const cases = fc.property(
    fc.array(text),
    fc.infiniteStream(fc.integer({ min: 1, max: 9 })),
    (lines, sizes) => {
      const splitter = new LineSplitter(1_000, 'stop')
      const bytes = Buffer.from(lines.map((line) => `${line}\n`).join(''))
      const found: string[] = []
      for (let at = 0; at < bytes.length; ) {
        const size = sizes.next().value ?? 1
        found.push(...splitter.push(bytes.subarray(at, at + size)))
        at += size
      }
      t.strictSame(found, lines)
      t.equal(splitter.rest(), undefined)
    },
  )
  fc.assert(cases, { numRuns: 300 })
})

t.test('a line of the limit passes, one byte more stops a strict splitter for good', async (t) => {
  const splitter = new LineSplitter(4, 'stop')
  t.strictSame(splitter.push(Buffer.from('1234\nab')), ['1234'])
  t.equal(splitter.stopped, false)
  t.strictSame([splitter.push(Buffer.from('cde')), splitter.stopped], [[], true])
  t.strictSame(splitter.push(Buffer.from('x\ny\n')), [])
})

t.test('a lenient splitter keeps the beginning of a long line and the lines after it', async (t) => {
  const splitter = new LineSplitter(4, 'cut')
  const lines = ['12', '3456', '7\n89\nab'].flatMap((chunk) => splitter.push(Buffer.from(chunk)))
  t.strictSame([...lines, splitter.rest()], ['1234', '89', 'ab'])
})

t.test('a megabyte that drips in is one line', async (t) => {
  const splitter = new LineSplitter(LINE_BYTES_MAX, 'stop')
  const drop = Buffer.from('x'.repeat(1_024))
  for (let fallen = 0; fallen < LINE_BYTES_MAX; fallen += drop.length) splitter.push(drop)
  t.equal(splitter.push(Buffer.from('\n'))[0]?.length, LINE_BYTES_MAX)
})

/** One end whose other end is the test: it reads what was written and says what it likes. */
function bench(limits: Partial<RpcLimits> = {}) {
  const clock = new TestClock()
  const written: unknown[] = []
  const heard: unknown[] = []
  const answers = new Map<string, (answer: unknown) => void>()
  const stream = new Duplex({
    read() {},
    write(chunk: Buffer, _, done) {
      written.push(JSON.parse(String(chunk)))
      done()
    },
  })
  const peer = new RpcPeer(
    stream,
    clock,
    {
      outstandingMax: 3,
      askedMax: 2,
      unaskedPerSecondMax: 100,
      bufferedBytesMax: 2_000_000,
      ...limits,
    },
    {
      request(method, params, id, signal) {
        heard.push({ method, params, id })
        if (method === 'fails') return Promise.reject(new RpcFailure(-32001, 'no', { why: 1 }))
        signal.addEventListener('abort', () => heard.push({ aborted: id, reason: signal.reason }))
        return new Promise((resolve) => answers.set(String(id), resolve))
      },
      notice(method, params) {
        heard.push({ method, params })
        return method === 'malformed' ? 'a wrong shape' : undefined
      },
      violation: (reason) => void heard.push({ violation: reason }),
      closed: () => void heard.push('closed'),
    },
  )
  const say = async (...messages: unknown[]): Promise<void> => {
    const lines = messages.map((one) => (typeof one === 'string' ? one : JSON.stringify(one)))
    stream.push(`${lines.join('\n')}\n`)
    await settle()
  }
  return { clock, stream, peer, written, heard, answers, say }
}

t.test('whatever is no message is reported once, and nothing after it is heard', async (t) => {
  const wrong = {
    'not JSON': '{"jsonrpc":',
    'a number': '7',
    'a batch': '[]',
    'no version': { id: 1, method: 'x' },
    'an id that is no id': { jsonrpc: '2.0', id: {}, method: 'x' },
    'a method that is no text': { jsonrpc: '2.0', id: 1, method: 3 },
    'params that are no structure': { jsonrpc: '2.0', id: 1, method: 'x', params: 3 },
    'an answer without id': { jsonrpc: '2.0', result: 1 },
    'an answer without outcome': { jsonrpc: '2.0', id: 1 },
    'an error without code': { jsonrpc: '2.0', id: 1, error: { message: 'x' } },
    'an error that is null': { jsonrpc: '2.0', id: 1, error: null },
  }
  for (const [name, message] of Object.entries(wrong)) {
    const { heard, say } = bench()
    await say(message, message, { jsonrpc: '2.0', method: 'later' })
    t.equal(heard.length, 1, name)
    t.match(heard[0], { violation: /^a line that is no JSON-RPC 2.0 message/ }, name)
  }
})

t.test('a line too long, a flood, a repeated id and too many open requests are violations', async (t) => {
  const ask = (id: number) => ({ jsonrpc: '2.0', id, method: 'waits' })
  const faults = {
    [`a line of more than ${LINE_BYTES_MAX} bytes`]: ['x'.repeat(LINE_BYTES_MAX + 1)],
    'more than 100 messages in a second that nobody asked for': Array.from({ length: 101 }, () => ({
      jsonrpc: '2.0',
      method: 'n',
    })),
    'the id "1" twice at the same time': [ask(1), ask(1)],
    'more than 2 open requests': [ask(1), ask(2), ask(3)],
  }
  for (const [fault, messages] of Object.entries(faults)) {
    const { heard, say } = bench()
    await say(...messages)
    t.strictSame(heard.at(-1), { violation: fault })
  }
})

t.test('nothing is heard after a notification that its reader finds wrong', async (t) => {
  const { peer, heard, say } = bench()
  const { id, answer } = peer.ask('x', {})
  await say({ jsonrpc: '2.0', method: 'malformed' }, { jsonrpc: '2.0', id, result: 1 })
  peer.close()
  await t.rejects(answer, new RpcBroken('closed'))
  t.strictSame(heard, [{ method: 'malformed', params: undefined }, { violation: 'a wrong shape' }])
})

t.test('as many messages in the next second are no flood', async (t) => {
  const { clock, heard, say } = bench()
  const hundred = Array.from({ length: 100 }, () => ({ jsonrpc: '2.0', method: 'n' }))
  await say(...hundred)
  await clock.pass(1_000)
  await say(...hundred)
  t.strictSame([heard.length, heard.at(-1)], [200, { method: 'n', params: undefined }])
})

t.test('answers are no flood, however many are asked for; strays are', async (t) => {
  const { peer, heard, say } = bench({ outstandingMax: 500 })
  const asked = Array.from({ length: 500 }, () => peer.ask('x', {}))
  await say(...asked.map(({ id }) => ({ jsonrpc: '2.0', id, result: id })))
  t.strictSame(
    await Promise.all(asked.map(({ answer }) => answer)),
    asked.map(({ id }) => id),
  )
  t.strictSame(heard, [])
  await say(...Array.from({ length: 101 }, () => ({ jsonrpc: '2.0', id: 1, result: 'again' })))
  t.match(heard, [{ violation: /^more than 100 messages/ }])
})

t.test('answers nobody waits for are counted and go nowhere', async (t) => {
  const { peer, say } = bench()
  const one = peer.ask('x', {})
  const two = peer.ask('x', {})
  two.forget()
  await say(
    { jsonrpc: '2.0', id: 99, result: 'unknown' },
    { jsonrpc: '2.0', id: two.id, result: 'late' },
    { jsonrpc: '2.0', id: one.id, result: 'right' },
    { jsonrpc: '2.0', id: one.id, result: 'repeated' },
  )
  t.strictSame([await one.answer, peer.strays], ['right', 3])
})

t.test('an answer that is an error rejects with its code and data', async (t) => {
  const { peer, say } = bench()
  const { id, answer } = peer.ask('x', {})
  await say({ jsonrpc: '2.0', id, error: { code: -32000, message: 'threw', data: { stack: 's' } } })
  await t.rejects(answer, { name: 'RpcFailure', code: -32000, message: 'threw', data: { stack: 's' } })
})

t.test('no answer in time cancels the request and rejects', async (t) => {
  const { clock, peer, written } = bench()
  const answer = peer.request('slow', {}, 50)
  await Promise.all([t.rejects(answer, new RpcBroken('expired')), clock.pass(50)])
  t.strictSame(written.at(-1), { jsonrpc: '2.0', method: '$/cancel', params: { id: 1, reason: 'deadline' } })
  t.equal(clock.waiting, 0)
})

t.test('requests beyond the window, a full pipe, a long line and a closed pipe fail at once', async (t) => {
  const { peer } = bench()
  const long = peer.ask('x', { text: 'é'.repeat(LINE_BYTES_MAX / 2) })
  await t.rejects(long.answer, new RpcBroken('too large'))
  const waiting = [1, 2, 3].map(() => peer.ask('x', {}))
  await t.rejects(peer.ask('x', {}).answer, new RpcBroken('window'))
  peer.close()
  for (const { answer } of waiting) await t.rejects(answer, new RpcBroken('closed'))
  await t.rejects(peer.ask('x', {}).answer, new RpcBroken('closed'))

  const full = bench({ bufferedBytesMax: 40 })
  await t.rejects(full.peer.ask('x', { text: 'x'.repeat(40) }).answer, new RpcBroken('full'))
  full.peer.notify('x', { text: 'x'.repeat(40) })
  t.strictSame([full.peer.dropped, full.written], [1, []])
})

t.test(
  'what the other end asks is answered with a result, an error, or that the answer is too long',
  async (t) => {
    const { written, answers, say } = bench()
    await say({ jsonrpc: '2.0', id: 'a', method: 'waits' }, { jsonrpc: '2.0', id: 'b', method: 'fails' })
    answers.get('a')?.(undefined)
    await settle()
    await say({ jsonrpc: '2.0', id: 'c', method: 'waits' })
    answers.get('c')?.('x'.repeat(LINE_BYTES_MAX))
    await settle()
    t.strictSame(written, [
      { jsonrpc: '2.0', id: 'b', error: { code: -32001, message: 'no', data: { why: 1 } } },
      { jsonrpc: '2.0', id: 'a', result: null },
      {
        jsonrpc: '2.0',
        id: 'c',
        error: { code: -32603, message: `the answer has more than ${LINE_BYTES_MAX} bytes` },
      },
    ])
  },
)

t.test('a cancel reaches the one request it names', async (t) => {
  const { heard, say } = bench()
  await say({ jsonrpc: '2.0', id: 1, method: 'waits' }, { jsonrpc: '2.0', id: 2, method: 'waits' })
  await say({ jsonrpc: '2.0', method: '$/cancel', params: { id: 2, reason: 'why' } })
  await say(
    { jsonrpc: '2.0', method: '$/cancel', params: { id: 77 } },
    { jsonrpc: '2.0', method: '$/cancel' },
  )
  t.strictSame(heard.slice(2), [{ aborted: 2, reason: 'why' }])
})

t.test('a pipe that breaks says so once and throws nothing', async (t) => {
  const { heard, stream } = bench()
  stream.destroy(new Error('ECONNRESET'))
  await settle()
  t.strictSame(heard, ['closed'])
})

/** A heartbeat whose clock is the test's, in the loop of the test itself. */
function pulse() {
  const clock = new TestClock()
  const said: unknown[] = []
  const say = (params?: HeartbeatParams): void => {
    said.push(params === undefined ? 'alive' : (params.rests_ms ?? 'figures'))
  }
  new Pulse(clock, 500, say).begin()
  const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
  return { clock, said, turn }
}

t.test('a heartbeat tells figures while something goes on, then rests', async (t) => {
  const { clock, said } = pulse()
  // A test clock lets the loop turn many times within each step.
  await clock.pass(1_500)
  t.strictSame(said, ['figures', 'figures', 'figures'])
})

t.test('what ends a rest comes after the heartbeat, and a rest that nothing ends goes on', async (t) => {
  const { clock, said, turn } = pulse()
  let ring = (): void => {}
  clock.after = (_, next) => {
    ring = next
    return { cancel: () => {} }
  }
  const still = new Pulse(clock, 500, (params) => void said.push(params?.rests_ms ?? 'alive'))
  still.begin()
  ring()
  ring()
  t.strictSame(said, [10_000, 10_000], 'no turn of the loop in between')
  const order: unknown[] = []
  await turn().then(() => order.push(...said.slice(2), 'work'))
  t.strictSame(order, ['alive', 'work'])
  await turn()
  t.equal(said.length, 3, 'said once')
})

t.test('what a module begins is its own, however far that leads', async (t) => {
  const whose = new Whose()
  const [one, other] = [createOwner('g/one#1', 1), createOwner('g/other#2', 2)]
  const found: unknown[] = []
  const note = (): void => void found.push([whose.now()?.instance, process.title])
  const later = async (): Promise<void> => {
    note()
    await new Promise((resolve) => setTimeout(resolve, 1))
    note()
    await new Promise((resolve) => setImmediate(resolve))
    note()
  }
  const title = process.title
  await Promise.all([whose.as(one, later), whose.as(other, later)])
  process.title = title
  // Whose timer rings first is the loop's affair; whose it is, is the claim.
  const heads = found.map((pair) => [(pair as string[])[0], (pair as string[])[1]?.slice(0, 10)])
  const of = (seat: number): unknown[] => heads.filter(([, head]) => head === `nexus ${seat} g/`)
  t.strictSame(of(1), Array(3).fill(['g/one#1', 'nexus 1 g/']))
  t.strictSame(of(2), Array(3).fill(['g/other#2', 'nexus 2 g/']))
  t.equal(whose.now(), undefined)
  const shown = whose.as(one, () => process.title)
  process.title = title
  t.match(shown, /^nexus 1 /, 'from the first moment on')
  const promise = whose.as(other, () => Promise.reject(new Error('nobody listens')))
  promise.catch(() => undefined)
  t.equal(whose.of(promise), other)
})

t.test('the timers that somebody leaves behind are stopped, and nobody else’s', async (t) => {
  const whose = new Whose()
  const owner = createOwner('g/one#1', 1)
  const rang: string[] = []
  whose.as(owner, () => {
    setInterval(() => rang.push('interval'), 1)
    void Promise.resolve().then(() => setTimeout(() => rang.push('timeout'), 1))
    for (let made = 0; made < 1_000; made += 1) clearTimeout(setTimeout(() => {}, 1_000))
  })
  const mine = new Promise((resolve) => setTimeout(resolve, 5))
  await Promise.resolve()
  await Promise.resolve()
  clearTimers(owner)
  await mine
  t.strictSame(rang, [])
})

const NOBODY = { calls: 0, inFlight: 0 }

t.test('the use of the processor is that between the last two figures, and nothing at rest', async (t) => {
  const clock = new TestClock()
  const figures = new Figures(clock)
  const say = async (cpu_ms: number, more: object = {}): Promise<number> => {
    await clock.pass(500)
    figures.take({ rss_bytes: 1, loop_lag_ms: 0, elu: 0, cpu_ms, ...more }, NOBODY)
    return figures.cpuPercent
  }
  const found = [await say(10), await say(260), await say(270, { rests_ms: 10_000 })]
  figures.take(undefined, NOBODY)
  t.strictSame([...found, figures.cpuPercent, figures.newest?.cpu_ms], [0, 50, 0, 2, 270])
})
