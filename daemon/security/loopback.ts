import { isIPv4 } from 'node:net'

/** Whether an address is reached from this machine only. Names are not looked up: what they lead to can change. */
export function isLoopback(host: string): boolean {
  const bare = host.replace(/^\[(.*)\]$/, '$1').toLowerCase()
  return bare === 'localhost' || bare === '::1' || (isIPv4(bare) && bare.startsWith('127.'))
}
