// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"wasmbed.dev/devices/boards"
	"wasmbed.dev/gateway/protocol"
)

// gatewayProcess names the folder of a gateway that this test binary is to be.
const gatewayProcess = "WASMBED_TEST_GATEWAY"

func TestMain(m *testing.M) {
	if dir := os.Getenv(gatewayProcess); dir != "" {
		serveFrom(dir)
		return
	}
	os.Exit(m.Run())
}

// serveFrom welcomes every device until standard input ends; its address is the only line that it prints.
func serveFrom(dir string) {
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.pem"))
	if err != nil {
		panic(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAnyClientCert})
	if err != nil {
		panic(err)
	}
	fmt.Println(l.Addr())
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				welcome, _ := protocol.AppendFrame(nil, &protocol.Welcome{Version: protocol.Version, MaxFrame: 1024, Epoch: 1, HeartbeatInterval: 30000, ReportInterval: 1000}, 512)
				for {
					body, err := protocol.ReadBody(conn, nil, 1024)
					if err != nil {
						return
					}
					if f, err := protocol.Decode(body); err == nil && f.Type() == protocol.TypeHello {
						conn.Write(welcome)
					}
				}
			}()
		}
	}()
	bufio.NewReader(os.Stdin).ReadString(0)
}

func writeKeyPair(t testing.TB, path string, cert tls.Certificate) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	check(t, err)
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
	check(t, os.WriteFile(path, text, 0o600))
}

// BenchmarkIdleDevices reports what a connected device costs that has nothing to do, the gateway's side apart.
// The number of devices is the benchmark's N: -benchtime=2000x.
func BenchmarkIdleDevices(b *testing.B) { idleDevices(b, b.N, reportFootprint) }

func reportFootprint(b testing.TB, perDevice cost) {
	bench := b.(*testing.B)
	bench.ReportMetric(perDevice.kilobytes, "KB/device")
	bench.ReportMetric(perDevice.resident, "resident-KB/device")
	bench.ReportMetric(perDevice.goroutines, "goroutines/device")
}

// TestAnIdleDeviceIsSmall keeps the figures from growing unseen.
func TestAnIdleDeviceIsSmall(t *testing.T) {
	idleDevices(t, 200, func(t testing.TB, perDevice cost) {
		t.Logf("%+v", perDevice)
		if perDevice.kilobytes > 40 || perDevice.goroutines > 2 {
			t.Errorf("an idle device costs %.1f KB and %.1f goroutines, more than 40 KB and 2", perDevice.kilobytes, perDevice.goroutines)
		}
	})
}

type cost struct{ kilobytes, resident, goroutines float64 }

func idleDevices(t testing.TB, n int, result func(testing.TB, cost)) {
	dir := t.TempDir()
	ca := newAuthority(t)
	writeKeyPair(t, filepath.Join(dir, "server.pem"), ca.issue(t, "wasmbed://gateway/test/test", ServerName))
	gateway := exec.Command(os.Args[0])
	gateway.Env = append(os.Environ(), gatewayProcess+"="+dir)
	stdin, err := gateway.StdinPipe()
	check(t, err)
	stdout, err := gateway.StdoutPipe()
	check(t, err)
	check(t, gateway.Start())
	defer func() { stdin.Close(); gateway.Wait() }()
	address, err := bufio.NewReader(stdout).ReadString('\n')
	check(t, err)

	engine, err := NewEngine(context.Background())
	check(t, err)
	defer engine.Close(context.Background())
	board, _ := boards.Get(boards.DefaultSimulated)
	roots := ca.pool()
	identities := make([]tls.Certificate, n)
	for i := range identities {
		identities[i] = ca.issue(t, "wasmbed://device/plant/d"+strconv.Itoa(i))
	}
	before := measure()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	devices := make([]*Device, n)
	for i := range devices {
		devices[i], err = New(Config{Namespace: "plant", Name: "d" + strconv.Itoa(i), Board: board, Engine: engine, Endpoints: []string{strings.TrimSpace(address)},
			StateDir: filepath.Join(dir, strconv.Itoa(i)), Identity: Identity{identities[i], roots}})
		check(t, err)
		wg.Go(func() { _ = devices[i].Run(ctx) })
	}
	for _, d := range devices {
		until(t, "all are connected", d.Connected)
	}
	until(t, "first reports are sent and writers are gone", func() bool { return runtime.NumGoroutine() <= n+10+int(before.goroutines) })
	after := measure()
	result(t, cost{(after.kilobytes - before.kilobytes) / float64(n), (after.resident - before.resident) / float64(n), (after.goroutines - before.goroutines) / float64(n)})
	runtime.KeepAlive(identities)
}

// measure is what the process has in use: heap and stacks, resident pages, goroutines.
func measure() cost {
	for range 3 {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	resident := 0.0
	if text, err := os.ReadFile("/proc/self/statm"); err == nil {
		if fields := strings.Fields(string(text)); len(fields) > 1 {
			pages, _ := strconv.ParseFloat(fields[1], 64)
			resident = pages * float64(os.Getpagesize()) / 1024
		}
	}
	return cost{float64(m.HeapInuse+m.StackInuse) / 1024, resident, float64(runtime.NumGoroutine())}
}
