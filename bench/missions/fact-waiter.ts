import { type ClientRequest, request } from 'node:http'

/** Reads the daemon's own stream of facts, and says when a mission has ended. */
export class FactWaiter {
  readonly #request: ClientRequest
  readonly #ended = new Set<string>()
  #waiting: { readonly id: string; readonly resolve: () => void } | undefined
  #rest = ''

  static open(socketPath: string, token: string): Promise<FactWaiter> {
    const headers = { authorization: `Bearer ${token}` }
    return new Promise((resolve, reject) => {
      const call = request({ socketPath, path: '/v1/events?types=mission.ended', headers }, (response) => {
        const waiter = new FactWaiter(call)
        response.setEncoding('utf8').on('data', (text: string) => waiter.#take(text))
        resolve(waiter)
      })
      call.on('error', reject)
      call.end()
    })
  }

  private constructor(call: ClientRequest) {
    this.#request = call
  }

  async ended(id: string): Promise<void> {
    if (this.#ended.delete(id)) return
    await new Promise<void>((resolve) => {
      this.#waiting = { id, resolve }
    })
  }

  close(): void {
    this.#request.destroy()
  }

  #take(text: string): void {
    const lines = (this.#rest + text).split('\n')
    this.#rest = lines.pop() ?? ''
    for (const line of lines) {
      const id = line.startsWith('data: ') ? /"mid":"([^"]+)"/.exec(line)?.[1] : undefined
      if (id === undefined) continue
      if (this.#waiting?.id === id) this.#waiting.resolve()
      else this.#ended.add(id)
    }
  }
}
