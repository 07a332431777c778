import type { Owner, Whose } from './whose.ts'

export type Stream = 'stdout' | 'stderr'

/**
 * Where several modules share a process, their `console` shares one stream: this cuts it apart again.
 *
 * What a module writes goes to `say`, line by line; what the host itself writes goes where it went.
 */
export function captureOutput(
  whose: Whose,
  say: (owner: Owner, stream: Stream, message: string) => void,
): void {
  for (const name of ['stdout', 'stderr'] as const) {
    const stream = process[name]
    const rests = new WeakMap<Owner, string>()
    const write = stream.write.bind(stream) as (...args: unknown[]) => boolean
    const take = (chunk: unknown, ...more: unknown[]): boolean => {
      const owner = whose.now()
      if (owner === undefined) return write(chunk, ...more)
      const lines = `${rests.get(owner) ?? ''}${textOf(chunk)}`.split('\n')
      const rest = lines.pop() ?? ''
      const isLong = rest.length > REST_CHARACTERS_MAX
      rests.set(owner, isLong ? '' : rest)
      for (const line of isLong ? [...lines, rest] : lines) say(owner, name, line)
      const done = more.find((one) => typeof one === 'function')
      if (done !== undefined) process.nextTick(done as () => void)
      return true
    }
    stream.write = take as typeof stream.write
  }
}

function textOf(chunk: unknown): string {
  return chunk instanceof Uint8Array ? Buffer.from(chunk).toString() : String(chunk)
}

/** A line without an end is let go when it has this length. */
const REST_CHARACTERS_MAX = 16_384
