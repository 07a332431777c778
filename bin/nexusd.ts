#!/usr/bin/env -S node --max-semi-space-size=16
import './floor.ts'
import { refuseDebugger } from '../daemon/signals.ts'

refuseDebugger()
const { main } = await import('../daemon/main.ts')
process.exitCode = await main(process.argv.slice(2))
