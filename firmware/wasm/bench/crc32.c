// SPDX-License-Identifier: Apache-2.0
typedef unsigned int u32; typedef unsigned char u8;
#define LEN 16384
static u8 buf[LEN];
__attribute__((visibility("default"))) int run(void){
  u32 s=12345;
  for(int i=0;i<LEN;i++){ s=s*1103515245u+12345u; buf[i]=(u8)(s>>16); }
  u32 c=0xffffffffu;
  for(int i=0;i<LEN;i++){ c^=buf[i]; for(int k=0;k<8;k++) c = (c&1)? (c>>1)^0xedb88320u : c>>1; }
  return (int)~c;
}
