import type { HealthAnswer, ModuleContext } from 'aeon-nexus/module'
import type { Clock } from './clock.ts'
import type { Machine } from './machine.ts'
import { type CpuMark, measure, type Reading } from './measure.ts'
import type { Settings } from './settings.ts'

/** CPU times tick in hundredths of a second: over less than this a percentage is noise. */
const WINDOW_MS_MIN = 200
/** Long enough to mean something, so that a request needs no wait of its own. */
const WINDOW_MS_GOOD = 1_000

/** Samples at a steady interval into gauges, one sample at a time, and measures on request. */
export class Sampler {
  readonly #ctx: ModuleContext
  readonly #clock: Clock
  readonly #machine: Machine
  readonly #gauges: ReturnType<typeof gaugesOf>
  #settings: Settings
  /** The last two samples' CPU times, newest first. */
  #marks: readonly CpuMark[]
  #timer: { cancel(): void } | undefined
  #stopped = false
  #diskFault: string | undefined

  constructor(ctx: ModuleContext, clock: Clock, machine: Machine) {
    this.#ctx = ctx
    this.#clock = clock
    this.#machine = machine
    this.#settings = ctx.config
    this.#gauges = gaugesOf(ctx)
    this.#marks = [this.#mark()]
    // The first gauges soon, for whoever looks right after a start.
    this.#schedule(Math.min(WINDOW_MS_GOOD, this.#settings.interval_ms))
  }

  configure(settings: Settings): void {
    const changed = settings.interval_ms !== this.#settings.interval_ms
    this.#settings = settings
    if (changed && this.#timer !== undefined) this.#schedule(settings.interval_ms)
  }

  /** Measures now; its CPU share is that of the last seconds. Changes nothing. */
  async collect(signal: AbortSignal): Promise<Reading> {
    const newest = this.#marks.find((mark) => this.#clock.elapsed() - mark.atMs >= WINDOW_MS_GOOD)
    const since = newest ?? this.#marks.at(-1) ?? this.#mark()
    await this.#wait(WINDOW_MS_MIN - (this.#clock.elapsed() - since.atMs), signal)
    return this.#measure(since, this.#mark())
  }

  health(): HealthAnswer {
    return this.#diskFault === undefined
      ? { status: 'healthy' }
      : { status: 'degraded', reason: this.#diskFault }
  }

  stop(): void {
    this.#stopped = true
    this.#timer?.cancel()
  }

  #schedule(waitMs: number): void {
    this.#timer?.cancel()
    this.#timer = this.#clock.after(waitMs, () => {
      this.#timer = undefined
      void this.#sample().finally(() => {
        // The next sample waits for this one: a hung disk must not pile them up.
        if (!this.#stopped) this.#schedule(this.#settings.interval_ms)
      })
    })
  }

  /** Never rejects: what cannot be read is null in the reading. */
  async #sample(): Promise<void> {
    const mark = this.#mark()
    const since = this.#marks[0] ?? mark
    this.#marks = [mark, since]
    const reading = await this.#measure(since, mark)
    this.#noteDisk(reading.unknown['disk'])
    const { cpu, memory, disk, load, open_files: files } = reading
    const set = (gauge: { set(value: number): void }, value: number | undefined): void => {
      if (value !== undefined) gauge.set(value)
    }
    set(this.#gauges.cpu, cpu?.percent)
    set(this.#gauges.memoryTotal, memory?.total_bytes)
    set(this.#gauges.memoryAvailable, memory?.available_bytes)
    set(this.#gauges.diskTotal, disk?.total_bytes)
    set(this.#gauges.diskAvailable, disk?.available_bytes)
    set(this.#gauges.load, load?.one)
    set(this.#gauges.openFiles, files?.allocated)
  }

  #noteDisk(fault: string | undefined): void {
    if (fault !== undefined && fault !== this.#diskFault) this.#ctx.log.warn(fault)
    this.#diskFault = fault
  }

  #measure(since: CpuMark, until: CpuMark): Promise<Reading> {
    const path = this.#settings.disk_path === '' ? this.#ctx.dataDir : this.#settings.disk_path
    return measure(this.#machine, path, since, until, this.#clock.now())
  }

  #mark(): CpuMark {
    return { ...this.#machine.cpuTimes(), atMs: this.#clock.elapsed() }
  }

  #wait(waitMs: number, signal: AbortSignal): Promise<void> {
    if (waitMs <= 0) return Promise.resolve()
    return new Promise((resolve, reject) => {
      const timer = this.#clock.after(waitMs, resolve)
      const stop = (): void => {
        timer.cancel()
        reject(signal.reason)
      }
      if (signal.aborted) stop()
      else signal.addEventListener('abort', stop, { once: true })
    })
  }
}

function gaugesOf({ metrics }: ModuleContext) {
  return {
    cpu: metrics.gauge(
      'host_cpu_percent',
      'Share of CPU time that was used between the last two samples, 0 to 100.',
    ),
    memoryTotal: metrics.gauge('host_memory_total_bytes', 'Memory of the machine.'),
    memoryAvailable: metrics.gauge(
      'host_memory_available_bytes',
      'Memory that programs could still get (MemAvailable).',
    ),
    diskTotal: metrics.gauge('host_disk_total_bytes', 'Size of the disk at disk_path.'),
    diskAvailable: metrics.gauge(
      'host_disk_available_bytes',
      'Room on the disk at disk_path, without what is kept for root.',
    ),
    load: metrics.gauge('host_load_one', 'Load average of the last minute.'),
    openFiles: metrics.gauge('host_open_files', 'Open files of the whole machine.'),
  }
}
