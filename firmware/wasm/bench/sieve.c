// SPDX-License-Identifier: Apache-2.0
#define N 8192
#define ROUNDS 10
static unsigned char f[N+1];
__attribute__((visibility("default"))) int run(void){
  int c=0;
  for(int r=0;r<ROUNDS;r++){
    c=0;
    for(int i=0;i<=N;i++) f[i]=1;
    for(int i=2;i<=N;i++) if(f[i]){ c++; for(int j=i+i;j<=N;j+=i) f[j]=0; }
  }
  return c;
}
