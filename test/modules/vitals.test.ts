import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import fc from 'fast-check'
import t from 'tap'
import { foreignChecker, sentenceOf } from '../../daemon/kit/schema.ts'
import { HeartbeatClient } from '../../modules/vitals/heartbeat-client/client.ts'
import heartbeat from '../../modules/vitals/heartbeat-client/index.ts'
import { Pulse } from '../../modules/vitals/heartbeat-client/pulse.ts'
import { send } from '../../modules/vitals/heartbeat-client/send.ts'
import hostMetrics from '../../modules/vitals/host-metrics/index.ts'
import { type Machine, thisMachine } from '../../modules/vitals/host-metrics/machine.ts'
import { Sampler } from '../../modules/vitals/host-metrics/sampler.ts'
import { call, failedSelfTests, manifestFaults } from '../support/module-checks.ts'
import { type FakeContext, fakeContext, readManifest } from '../support/module-context.ts'
import { settle, TestClock } from '../support/test-clock.ts'

type Test = { teardown(undo: () => unknown): void }

const BEAT = { module: 'm/n', instance: 'm/n#1', seq: 1, ts: '2026-11-22T10:00:00.000Z', uptime_seconds: 1 }
const never = new AbortController().signal

/** Somebody who takes POSTs: answers what `status` says, 0 with silence. */
async function receiver(t: Test, status: () => number): Promise<{ url: string; bodies: string[] }> {
  const bodies: string[] = []
  const server = createServer((request, response) => {
    let body = ''
    request.on('data', (chunk) => {
      body += chunk
    })
    request.on('end', () => {
      bodies.push(body)
      const code = status()
      if (code > 0) response.writeHead(code, { location: '/elsewhere' }).end('ok')
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/beat?token=x`, bodies }
}

t.test('heartbeat: the manifest is one the daemon takes, and the module runs', async (t) => {
  const id = 'vitals/heartbeat-client'
  const ctx = fakeContext(id)
  t.throws(() => heartbeat.actions.state(), /was not started/)
  t.match(heartbeat.health(), { status: 'unhealthy' })
  heartbeat.start(ctx)
  t.teardown(() => heartbeat.stop())
  t.strictSame(manifestFaults(id), [])
  t.strictSame(await failedSelfTests(heartbeat, ctx), [])
  t.match(await call(heartbeat, ctx, 'beat', {}), { seq: 1, ok: true, target: 'console' })
  const change = {
    key: 'interval_ms',
    value: 5_000,
    previous: 30_000,
    config: { ...ctx.config, interval_ms: 5_000 },
  }
  t.equal(heartbeat.configure(ctx, change), 'applied')
  t.match(await call(heartbeat, ctx, 'state', {}), { interval_ms: 5_000, beats: 1, failures: 0 })
})

t.test('heartbeat: a target without its address is refused, with the place', async (t) => {
  const { config } = readManifest('vitals/heartbeat-client') as {
    config: { schema: object; defaults: object }
  }
  const check = (more: object): string => {
    const checked = foreignChecker(config.schema)({ ...config.defaults, ...more })
    return checked.ok ? 'fits' : sentenceOf(checked.issues)
  }
  t.match(check({ target: 'udp' }), /^\/udp\/port is missing/)
  t.match(check({ target: 'http' }), /^\/http\/url is missing/)
  t.match(check({ http: { url: 'ftp://somewhere/' } }), /\/http\/url/)
  t.match(check({ http: { url: 'http://user:secret@somewhere/' } }), /\/http\/url/)
  t.match(check({ interval_ms: 99 }), /\/interval_ms must be >= 100/)
  t.equal(check({ target: 'udp', udp: { host: '::1', port: 1 } }), 'fits')
})

t.test('heartbeat: what does not get through says why', async (t) => {
  let status = 503
  const { url, bodies } = await receiver(t, () => status)
  const base = fakeContext('vitals/heartbeat-client')
  const post = (to: string, signal = never): Promise<void> =>
    send(BEAT, { ...base.config, target: 'http', http: { url: to } }, base.log, signal)

  await t.rejects(post(url), /answered 503/)
  status = 302
  await t.rejects(post(url), /answered 302/)
  status = 200
  await post(url)
  t.strictSame(
    bodies.map((body) => JSON.parse(body)),
    [BEAT, BEAT, BEAT],
  )
  status = 0
  const late = new AbortController()
  const silent = post(url, late.signal)
  late.abort(new Error('too late'))
  await t.rejects(silent, /too late/)

  const socket = createSocket('udp4')
  t.teardown(() => socket.close())
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  const udp = { host: '127.0.0.1', port: socket.address().port }
  const [[datagram]] = await Promise.all([
    once(socket, 'message'),
    send(BEAT, { ...base.config, target: 'udp', udp }, base.log, never),
  ])
  t.strictSame(JSON.parse(String(datagram)), BEAT)
})

t.test('heartbeat: beats stand on a grid, whatever the interval is changed to', async (t) => {
  const clock = new TestClock()
  const at: number[] = []
  const pulse = new Pulse(clock, { intervalMs: 1_000, beat: () => at.push(clock.elapsed()) }, undefined)
  await clock.pass(2_500)
  t.strictSame(at, [0, 1_000, 2_000])
  pulse.changeInterval(5_000)
  await clock.pass(5_000)
  t.strictSame(at.slice(3), [7_000], 'longer: one new interval after the last beat')
  pulse.changeInterval(400)
  await clock.pass(400)
  t.strictSame(at.slice(4), [7_500, 7_900], 'shorter and overdue: at once, then on the new grid')
  pulse.stop()
  pulse.changeInterval(100)
  await clock.pass(10_000)
  t.strictSame([at.length, clock.waiting, pulse.dueInMs], [6, 0, undefined])

  const heir = new Pulse(clock, { intervalMs: 1_000, beat: () => at.push(clock.elapsed()) }, 300)
  await clock.pass(800)
  t.strictSame([at.slice(6), heir.dueInMs], [[clock.elapsed() - 100], 900], 'an heir goes on with the grid')
})

t.test('heartbeat: timers that ring late neither shift the grid nor make beats catch up', async (t) => {
  const clock = new TestClock()
  let lateMs = 7
  const late = {
    now: () => clock.now(),
    elapsed: () => clock.elapsed(),
    after: (waitMs: number, ring: () => void) => clock.after(waitMs + lateMs, ring),
  }
  const at: number[] = []
  const pulse = new Pulse(late, { intervalMs: 1_000, beat: () => at.push(clock.elapsed()) }, undefined)
  await clock.pass(3_500)
  t.strictSame(at, [7, 1_007, 2_007, 3_007])
  lateMs = 10_000 // the machine sleeps
  pulse.changeInterval(999)
  lateMs = 0
  await clock.pass(11_500)
  t.strictSame(at.slice(4), [13_999, 14_998], 'what was slept through is not made up for')
})

t.test('heartbeat: changes at any moment neither leave a gap nor beat twice', async (t) => {
  const moves = fc.array(
    fc.record({
      waitMs: fc.integer({ min: 0, max: 3_000 }),
      intervalMs: fc.integer({ min: 100, max: 2_000 }),
    }),
    { maxLength: 12 },
  )
  await fc.assert(
    fc.asyncProperty(moves, async (changes) => {
      const clock = new TestClock()
      const beats: { at: number; intervalMs: number }[] = []
      let intervalMs = 1_000
      /** The shortest and longest interval in force since the last beat. */
      let range = [1_000, 1_000]
      let lastMs = 0
      const beat = (): void => {
        const sinceMs = clock.elapsed() - lastMs
        if (beats.length > 0 && (sinceMs < (range[0] ?? 0) || sinceMs > (range[1] ?? 0))) {
          throw new Error(`${sinceMs} ms between beats, intervals ${range}`)
        }
        beats.push({ at: clock.elapsed(), intervalMs })
        lastMs = clock.elapsed()
        range = [intervalMs, intervalMs]
      }
      const pulse = new Pulse(clock, { intervalMs, beat }, undefined)
      for (const change of changes) {
        await clock.pass(change.waitMs)
        intervalMs = change.intervalMs
        range = [Math.min(range[0] ?? 0, intervalMs), Math.max(range[1] ?? 0, intervalMs)]
        pulse.changeInterval(intervalMs)
      }
      await clock.pass(2_000)
      if (clock.waiting !== 1) throw new Error(`${clock.waiting} timers`)
    }),
    { numRuns: 25 },
  )
  t.pass('held')
})

t.test('heartbeat: degraded at the third failure in a row, well again after one good beat', async (t) => {
  let status = 500
  const { url } = await receiver(t, () => status)
  const clock = new TestClock()
  const ctx = fakeContext('vitals/heartbeat-client', { config: { target: 'http', http: { url } } })
  const client = new HeartbeatClient(
    {
      ...ctx,
      inherited: {
        seq: 40,
        beats: 40,
        failures: 1,
        skipped: 0,
        last: { at: new Date(clock.now()).toISOString() },
      },
    },
    clock,
  )
  t.teardown(() => client.stop())
  await t.rejects(client.beatNow(), /did not get through to http .*\/beat: it answered 500$/)
  await t.rejects(client.beatNow())
  t.strictSame(client.health(), { status: 'healthy' })
  await t.rejects(client.beatNow())
  t.match(client.health(), {
    status: 'degraded',
    reason: /^the last 3 beats did not get through.*answered 500/,
  })
  t.match(client.state(), { seq: 43, beats: 43, failures: 4, failures_in_a_row: 3, last: { ok: false } })
  status = 204
  await client.beatNow()
  t.strictSame(client.health(), { status: 'healthy' })

  status = 500
  for (let n = 0; n < 3; n += 1) await t.rejects(client.beatNow())
  client.configure({ ...ctx.config, target: 'console' })
  t.strictSame(client.health(), { status: 'healthy' }, 'another target starts with a clean sheet')
})

t.test('heartbeat: beats never pile up behind one that is on its way', async (t) => {
  const { url, bodies } = await receiver(t, () => 0)
  const clock = new TestClock()
  const life = new AbortController()
  const config = { target: 'http', http: { url }, interval_ms: 1_000, deadline_ms: 5_000 }
  const ctx: FakeContext = fakeContext('vitals/heartbeat-client', { config, signal: life.signal })
  const client = new HeartbeatClient(ctx, clock)
  await clock.pass(500)
  client.configure({ ...ctx.config, interval_ms: 100 }) // the beat on its way keeps its deadline of 1,000
  await clock.pass(450)
  t.match(client.state(), { seq: 1, beats: 0, skipped: 5, failures: 0 })
  await clock.pass(100)
  t.match(client.state(), {
    beats: 1,
    failures: 1,
    last: { ok: false, error: /not get through within 1000 ms/ },
  })
  life.abort(new Error('the instance stops'))
  await client.stop()
  await settle()
  t.match(client.state(), { failures: 1, next_at: null }, 'one cut by the stop is no failure')
  t.strictSame([clock.waiting, bodies.length <= 2], [0, true])
})

const QUIET: Machine = {
  cpuTimes: () => ({ busyMs: 0, totalMs: 0, cores: 2 }),
  memory: () => ({ totalBytes: 1_000, availableBytes: 250, limitBytes: null }),
  load: () => [1, 0.5, 0.25],
  uptimeSeconds: () => 60,
  disk: async () => ({ totalBytes: 1_000, availableBytes: 100 }),
  fileNr: async () => '1500\t500\t9223372036854775807\n',
}

/** A sampler on a clock of the test; each millisecond uses `share` of both cores. */
function sampling(machine: Partial<Machine>, share = 0.25) {
  const clock = new TestClock()
  const gauges = new Map<string, number>()
  const ctx = {
    ...fakeContext('vitals/host-metrics', { dataDir: '/data' }),
    metrics: {
      ...fakeContext('vitals/host-metrics').metrics,
      gauge: (name: string) => ({ set: (value: number) => void gauges.set(name, value) }),
    },
  }
  const cpuTimes = () => ({ busyMs: 2 * clock.elapsed() * share, totalMs: 2 * clock.elapsed(), cores: 2 })
  const sampler = new Sampler(ctx, clock, { ...QUIET, cpuTimes, ...machine })
  return { clock, ctx, gauges, sampler }
}

t.test('host-metrics: the manifest is one the daemon takes, and this machine can be measured', async (t) => {
  const id = 'vitals/host-metrics'
  const ctx = fakeContext(id, { dataDir: t.testdir({}) })
  await t.rejects(call(hostMetrics, ctx, 'collect', {}), /was not started/)
  hostMetrics.start(ctx)
  t.teardown(() => hostMetrics.stop())
  t.strictSame(manifestFaults(id), [])
  t.strictSame(await failedSelfTests(hostMetrics, ctx), [])
  t.match(await call(hostMetrics, ctx, 'collect', {}), {
    memory: { total_bytes: thisMachine.memory().totalBytes },
  })
})

t.test('host-metrics: what cannot be read is null and says why, and the rest is there', async (t) => {
  const denied = Object.assign(new Error('denied'), { code: 'ERR_ACCESS_DENIED' })
  const { clock, ctx, sampler } = sampling({
    cpuTimes: () => ({ busyMs: 0, totalMs: 0, cores: 0 }),
    disk: async () => Promise.reject(denied),
    fileNr: async () => 'nothing',
  })
  await clock.pass(500)
  t.match(await sampler.collect(never), {
    summary: 'CPU unknown, memory 75 % used, disk unknown, load 1.',
    cpu: null,
    disk: null,
    open_files: null,
    memory: { used_percent: 75 },
    load: { one: 1, one_per_core: null },
    unknown: {
      cpu: /does not tell/,
      disk: /may not read \/data: start the daemon with --allow-read \/data/,
      open_files: /no numbers/,
    },
  })
  t.strictSame(sampler.health(), { status: 'healthy' }, 'asking changes nothing')
  await clock.pass(1_000)
  t.match([sampler.health(), ctx.said], [{ status: 'degraded', reason: /--allow-read/ }, [/--allow-read/]])
  sampler.configure({ interval_ms: 1_000, disk_path: '/srv' })
  await clock.pass(1_000)
  t.match(sampler.health(), { reason: /may not read \/srv/ })
})

t.test(
  'host-metrics: CPU is what was used between two moments, and a request waits for a second one',
  async (t) => {
    const { clock, gauges, sampler } = sampling({})
    const early = sampler.collect(never)
    await clock.pass(200)
    t.match(await early, {
      cpu: { percent: 25, cores: 2, over_ms: 200 },
      open_files: { allocated: 1_000, limit: null },
      unknown: {},
    })
    await clock.pass(15_900)
    t.strictSame(Object.fromEntries(gauges), {
      host_cpu_percent: 25,
      host_memory_total_bytes: 1_000,
      host_memory_available_bytes: 250,
      host_disk_total_bytes: 1_000,
      host_disk_available_bytes: 100,
      host_load_one: 1,
      host_open_files: 1_000,
    })
    t.match(await sampler.collect(never), { cpu: { over_ms: 15_100 } }, 'a sample taken just now says little')
    const given = new AbortController()
    given.abort(new Error('enough'))
    await t.rejects(sampling({}).sampler.collect(given.signal), /enough/)
  },
)

t.test('host-metrics: samples wait for one another, and for nothing after a stop', async (t) => {
  let looks = 0
  let answer: () => void = () => {}
  const disk = (): Promise<{ totalBytes: number; availableBytes: number }> => {
    looks += 1
    return new Promise((resolve) => {
      answer = () => resolve({ totalBytes: 1, availableBytes: 1 })
    })
  }
  const { clock, sampler } = sampling({ disk })
  await clock.pass(60_000)
  sampler.configure({ interval_ms: 1_000, disk_path: '' })
  await clock.pass(60_000)
  t.equal(looks, 1, 'a disk that hangs is asked once')
  answer()
  await clock.pass(1_000)
  t.equal(looks, 2, 'then at the new interval')
  sampler.stop()
  answer()
  await settle()
  t.equal(clock.waiting, 0)
})
