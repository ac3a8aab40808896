// SPDX-License-Identifier: Apache-2.0
/* Two products of 32 x 32 matrices of integers. */
enum { N = 32 };
static int a[N][N], b[N][N], c[N][N];
__attribute__((visibility("default"))) int run(void)
{
	int sum = 0;
	for (int i = 0; i < N; i++)
		for (int j = 0; j < N; j++) {
			a[i][j] = i * 3 - j;
			b[i][j] = i + j * 5;
		}
	for (int r = 0; r < 2; r++)
		for (int i = 0; i < N; i++)
			for (int j = 0; j < N; j++) {
				int s = 0;
				for (int k = 0; k < N; k++)
					s += a[i][k] * b[k][j];
				c[i][j] = s;
				sum += s ^ r;
			}
	return sum + c[3][4];
}
